"""What the server writes about itself: one line an event, as text or JSON, for our loggers, uvicorn's and vLLM's alike.

config   loggers and handlers, in the form that vLLM and uvicorn read
lines    a record as a line
safe     what of a record may be written: no prompt, no medium, no secret, also not inside a traceback
access   one line for every request
"""
