"""How much the server takes on, and whether it can.

    pressure    a bounded number of requests at a time and in line; 503 for further ones
    connections what a connection may keep the server waiting for, and how many there are
    ready       `/ready`: whether the engine answers
    warm        a request of each kind before users come
    drain       what happens to requests after SIGTERM
    end         the exit status, when the engine died or the warm-up failed

The settings are in `server.settings.life`.
"""
