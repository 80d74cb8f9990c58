"""What the scripts of Python clients share; they run in an environment that holds those clients and little else."""

from collections.abc import Callable

import openai


def refused(call: Callable[[], object]) -> openai.APIStatusError:
    """The error that a call is answered with."""
    try:
        call()
    except openai.APIStatusError as error:
        return error
    raise AssertionError("what should be refused was accepted")
