"""What the server says about its own API: an OpenAPI document of the routes that it exposes, and of nothing else.

`bodies` says what requests hold: the engine's own classes, with the content parts that this server takes; `answers`,
what answers hold, errors among them. `operations` lists every route with its body, answer and statuses, and `document`
makes one document of all that, as this server is set up.
"""
