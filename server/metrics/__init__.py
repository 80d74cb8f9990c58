"""What the server counts and measures, beside vLLM's own metrics on the same `/metrics`.

    definitions   every metric: name, help, labels, buckets; dashboards, alerts and documentation are checked against it
    requests      answers, refusals, times; what each key used, where the operator wants that
    media         how media were read and decoded
    engine        how long encoders take, in whichever process they run
    processes     memory, descriptors and threads of the server's processes, at the time of a scrape
    route         `GET /metrics`

Every process writes to files of one directory (`server.scratch`), and whoever is asked adds them up: so the numbers are
right with several API servers, and those of an engine that runs in a process of its own are among them.
"""
