"""The demo corpora, built from Debian and npm packages and from nothing else.

    from training.corpus import build
    report = build(Path("corpus"), limit=200)

Layout of the output, one folder per source::

    corpus/scenes/train.jsonl        one training sample per line (training/corpus/samples.py)
    corpus/scenes/test.jsonl
    corpus/scenes/media/*.png|*.wav  the pictures and sounds, each shared by several samples
    corpus/scenes/source.json        provenance: packages, versions, sha256, licences; counts; arguments

Sources: ``scenes`` (drawn), ``speech`` (espeak-ng), ``stamps`` and ``sounds`` (Tux Paint stamps), ``emoji`` (npm),
``dialogs`` and ``pairs`` (composed from the others). Importing this package is cheap: a source is imported when built.
"""

from training.corpus.builder import BuildReport, SourceReport, build
from training.corpus.registry import SOURCES

__all__ = ["SOURCES", "BuildReport", "SourceReport", "build"]
