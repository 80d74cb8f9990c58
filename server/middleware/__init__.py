"""Pure ASGI middleware, one concept a file; `server.settings.MIDDLEWARE` lists them from the inside out."""
