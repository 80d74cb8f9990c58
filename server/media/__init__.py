"""Media before the engine: checked, and decoded by processes that can be killed.

    encoded    the bytes of a medium with their hash, and what can be refused without decoding
    limits     what one medium may be
    pool       a bounded number of decoding processes, and of media that wait for one
    once       what was seen before is neither decoded nor prepared again
    sent       nor sent to the engine again
    process    one of them, as the server sees it: start, ask, kill
    worker     the same, as it sees itself: no torch, no vLLM, no secrets, little memory and time

A decoder is a parser of bytes from strangers, written in C. In a process of its own it can take too long or too much
memory, or crash, and costs one medium its answer: the server goes on.
"""
