"""How a Quartet model is served: a launcher around stock vLLM, and the plugins that join it.

`quartet serve` checks the model, sets environment and flags, and becomes vLLM's own API server. Our code joins through
vLLM's plugin points only: the media connector (`server.plugin`), routes (`server.endpoint`) and pure ASGI middleware
(`server.middleware`).
"""
