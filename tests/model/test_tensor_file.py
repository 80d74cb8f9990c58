"""Files of tensors are as readable as any other file of their writer."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.tensor_file import write_tensors


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_the_umask_says_who_may_read(tmp_path: Path, umask: int, mode: int) -> None:
    path = tmp_path / "a.safetensors"
    before = os.umask(umask)
    try:
        write_tensors({"a": torch.arange(3)}, path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode
    assert load_file(path)["a"].tolist() == [0, 1, 2]


def test_a_file_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors({"a": torch.zeros(1)}, path)
    path.chmod(0o640)
    write_tensors({"b": torch.ones(1)}, path)
    assert list(load_file(path)) == ["b"]
    assert path.stat().st_mode & 0o777 == 0o640
