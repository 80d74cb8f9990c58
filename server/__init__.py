"""How a Quartet model is served: a launcher around stock vLLM, and the plugins that join it.

`quartet serve` checks the model, sets environment and flags, and becomes vLLM's own API server. Our code joins through
vLLM's plugin points only: the media connector, routes (`server.endpoint`) and pure ASGI middleware.

A request's way through, from the outside in:

    middleware/headers   begins the `exchange`: its id, and how long the answer took
    middleware/outcome   what came of it, for metrics, logs and traces
    middleware/routes    which paths exist
    middleware/body      how large a body may be, and how slow
    middleware/errors    every error in OpenAI's shape; whatever is inside may raise `errors.RefusedError`
    middleware/usage     token counts in OpenAI's names
    routes/              `requests` reads the body, `content` its parts, vLLM's handlers answer
    connector            a medium's address -> bytes (`resolvers`, one a scheme) -> decoded by `media` if it is new
    entrance             where prompts enter the engine: counted (`prompts`), answers too, adapter chosen (`adapter`)

Beside it: `settings` (what an operator can choose), `metrics`, `logs` and `traces` (what the server says about itself),
`commands` and `launcher` (from the command line to a running server), `adapter` (LoRA only where there are media),
`adapters` (LoRA as models), `files` (what clients upload), `openapi` (the API as a document), `page` (the playground,
from `static/`), `chat` (the terminal client), `bench` (how fast a server is), `demo` (what `make demo` runs).
"""
