"""`quartet bench`: how fast a server answers, alone or against another one in turn.

    plan      what to ask: load, lengths, media, seed
    media     pictures and sounds, made from a seed or taken from a folder
    workload  the requests of a run, the same bytes for every server
    client    one streamed request -> an `Outcome` with its times and counts
    load      a block of requests: so many at a time, or arriving at random
    run       warm-up, then blocks, two servers by turns
    metrics   outcomes -> times and throughputs, as `vllm bench serve` defines them
    compare   ratios of two servers with confidence intervals
    report    a table and JSON

It needs no accelerator and no model, and speaks to any server with OpenAI's chat completions.
"""
