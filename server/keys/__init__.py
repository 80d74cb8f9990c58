"""Who may call the server: API keys, kept as hashes, checked in constant time, reloaded while the server runs.

key         one key: role, models, limits; how secrets are made and hashed
file        the file of keys: read, added to, taken from
ring        all keys of a moment, and the search among them
source      where the ring comes from, looked at again when the file changes
middleware  401 and 403

The settings are in `server.settings.keys`, the command in `server.commands_keys`.
"""
