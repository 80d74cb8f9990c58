"""The recipes of the papers run end to end at tiny size: all stages, and a checkpoint that answers about its media."""

from pathlib import Path

import pytest
import torch

from model.checkpoint import Checkpoint
from tests.support.recipes import train
from tests.support.reference import Reference, audio, image, user

CHATS = {
    "English": [user("Compare ", image(0), image(1), " with ", audio(0), audio(1), ".")],
    "Malay": [user("Bandingkan ", image(0), audio(0), " dengan ", image(1), audio(1), ": apakah bezanya?")],
}


# The third, mmmmodal-7b, differs in its language model alone.
@pytest.fixture(scope="module", params=["s3", "mmmmodal"])
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, corpus: Path, shared_cache: Path
) -> Checkpoint:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUARTET_CACHE", str(shared_cache))
        folder = tmp_path_factory.mktemp(request.param)
        return train(request.param, folder, corpus, ["scenes", "tones", "dialogs"])


def test_stages_and_parts_are_those_of_the_recipe(trained: Checkpoint) -> None:
    # S3 trains an adapter, MMMModal the language model itself; the checkpoint holds either.
    assert (trained.adapter is None) == (trained.directory / "llm").is_dir()
    counts = trained.provenance.training["samples"]
    assert {key.split("/")[0] for key in counts} in ({"align", "tune"}, {"align", "joint"})
    # What the recipe did not know is recorded.
    assert len(trained.provenance.llm.sha256) == 64


@pytest.mark.parametrize("language", CHATS)
def test_it_answers_about_two_pictures_and_two_sounds(trained: Checkpoint, language: str) -> None:
    reference = Reference.load(trained.directory)
    messages = CHATS[language]
    answer = reference.answer(messages)
    assert answer.token_ids
    assert all(torch.isfinite(torch.tensor(answer.logprobs)))
    # It hears and sees: with other media the answer is another one.
    swapped = [user(*([image(2), audio(2)] * 2), *(p for p in messages[0]["content"] if p["type"] == "text"))]
    assert reference.answer(swapped).logprobs != answer.logprobs
