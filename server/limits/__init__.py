"""How much each key may use: requests, tokens, pixels and seconds a minute, and requests at a time.

    counters    windows of a minute, in memory or in Redis, and what holds while Redis is gone
    estimate    what a request will cost in tokens, before it is answered
    answers     what it did cost
    budget      the limits of one request's key
    middleware  429, and the headers that say what is left

The limits themselves are part of a key (`server.keys.key`), the settings in `server.settings.limits`.
"""
