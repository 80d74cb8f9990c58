"""LoRA adapters of the language model as models of their own: from the settings, or loaded while the server runs.

    files    an adapter's files: checked, and copied to where nobody changes them
    layers   which layers of the language model an adapter may change, and their sizes
    flags    what vLLM is started with
    choice   which adapter a conversation with media uses when it names none
    hot      loading and unloading by an admin

The routes are in `server.routes.adapters`, the settings in `server.settings.adapters`. The adapter that belongs to a
checkpoint is another matter: `server.adapter`.
"""
