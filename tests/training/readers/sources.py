"""What the tests of readers share: a folder of media, and a reader's samples as plain values."""

import json
from pathlib import Path
from typing import Any

from tests.support.tiny import picture_bytes, sound_bytes
from training.problems import ProblemLog
from training.readers import READERS, Options, Turn
from training.readers.base import Draft


def write_media(folder: Path) -> Path:
    """`a.png`, `b.png`, `c.wav`, and `secret.png` outside of the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.png").write_bytes(picture_bytes(1))
    (folder / "b.png").write_bytes(picture_bytes(2))
    (folder / "c.wav").write_bytes(sound_bytes(3, 0.1))
    (folder.parent / "secret.png").write_bytes(picture_bytes(9))
    return folder


def write(path: Path, values: Any) -> Path:
    """A text, or JSON of anything else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return path


def read(name: str, source: Path | str, root: Path, **options: Any) -> list[Draft]:
    """The drafts of a source, which must have no problem."""
    return list(READERS[name](str(source), Options(root=root, **options)).read())


def problems(name: str, source: Path | str, root: Path, **options: Any) -> list[str]:
    """The problems of a source, with the path of its folder left out."""
    log = ProblemLog(shown=100)
    list(READERS[name](str(source), Options(root=root, **options)).read(on_problem="skip", problems=log))
    return [str(problem).replace(f"{root}/", "").replace(str(root), "ROOT") for problem in log.first]


def said(turns: Any) -> list[tuple[str, list[str]]]:
    """Turns as role and texts; a file stands there by its name, bytes as their number."""
    return [(turn.role, [_part(part) for part in turn.parts]) for turn in turns if isinstance(turn, Turn)]


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    return f"{part.modality}:{len(part.data) if part.data is not None else part.path.name}"
