"""How long encoders take is told once per batch, and nothing is measured while nobody asks."""

from collections.abc import Iterator

import pytest
import torch

from model.vllm_adapter import timing
from model.vllm_adapter.timing import Timing, forget_encoders, watch_encoders

Told = list[tuple[str, int, float]]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    monkeypatch.setattr(timing, "_watchers", [])
    batches: Told = []

    def watcher(modality: str, media: int, seconds: float) -> None:
        batches.append((modality, media, seconds))

    watch_encoders(watcher)
    watch_encoders(watcher)
    yield batches
    forget_encoders(watcher)
    with Timing("image").batch(1, torch.device("cpu")):
        pass
    assert all(media != 1 for _, media, _ in batches)


def test_batches_on_the_cpu(told: Told) -> None:
    with Timing("image").batch(3, torch.device("cpu")):
        torch.ones(10).sum()
    ((modality, media, seconds),) = told
    assert (modality, media) == ("image", 3)
    assert 0 < seconds < 1


def test_a_batch_that_fails_is_not_told(told: Told) -> None:
    with pytest.raises(RuntimeError), Timing("audio").batch(2, torch.device("cpu")):
        raise RuntimeError
    assert told == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_on_a_gpu_are_told_without_waiting(told: Told) -> None:
    clock = Timing("image")
    device = torch.device("cuda")
    weights = torch.ones(4096, 4096, device=device)
    for media in (4, 5):
        with clock.batch(media, device):
            for _ in range(50):
                weights = (weights @ weights).clamp(0, 1)
    assert [media for _, media, _ in told] in ([], [4])
    torch.cuda.synchronize()
    clock.settle()
    assert [media for _, media, _ in told] == [4, 5]
    # 50 products of 137 GFLOP each take no GPU less than a millisecond.
    assert all(seconds > 0.001 for _, _, seconds in told)
