"""The places that files are kept in: a folder, and the bucket of a real S3 service."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.files.disk import DiskObjects
from server.files.library import Library
from server.files.objects import Objects
from tests.support.swift import MISSING, Swift, installed

_prefixes = itertools.count()


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    if not installed():
        pytest.skip(MISSING)
    running = Swift(tmp_path_factory.mktemp("swift")).start()
    yield running
    running.stop()


@pytest.fixture(params=["disk", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "disk":
        return DiskObjects(tmp_path / "store")
    swift: Swift = request.getfixturevalue("swift")
    return swift.objects(f"{next(_prefixes)}")


@pytest.fixture
def library(objects: Objects, tmp_path: Path) -> Library:
    return Library(objects, tmp_path / "store" / "staging")


@pytest.fixture
def on_disk(tmp_path: Path) -> Library:
    return Library(DiskObjects(tmp_path / "store"), tmp_path / "store" / "staging")
