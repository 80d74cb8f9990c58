"""How a Quartet model is served: a launcher around stock vLLM, and the plugins that join it.

`quartet serve` checks the model, sets environment and flags, and becomes vLLM's own API server. Our code joins through
vLLM's plugin points only: the media connector (`server.plugin`), routes (`server.endpoint`) and pure ASGI middleware
(`server.middleware`).

    commands   quartet serve, quartet chat          settings   what can be chosen; later also from a file
    launcher   check, assemble, become vLLM         endpoint   where routes of ours join: one router a file
    connector  bytes -> media, within limits        middleware one ASGI class a file: later keys, limits, body size
    errors     OpenAI's error shape                 parts      which part of a request is to blame
    chat       the terminal client                  demo       what `make demo` runs
"""
