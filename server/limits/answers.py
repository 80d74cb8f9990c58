"""What an answer did cost: tokens counted where they leave the engine, whoever still reads them and in which form."""

from typing import Any

from server.entrance import Entry, OnOutput


def count_answers(entry: Entry) -> OnOutput:
    """A guard of `server.entrance`: notes the tokens of each answer in the exchange it belongs to."""
    pieces = getattr(getattr(entry.sampling, "output_kind", None), "name", "") == "DELTA"
    so_far: dict[int, int] = {}

    def count(output: Any) -> None:
        for one in getattr(output, "outputs", ()):
            length = len(one.token_ids)
            known = so_far.get(one.index, 0)
            so_far[one.index] = known + length if pieces else max(known, length)
            entry.exchange.completion_tokens += so_far[one.index] - known

    return count
