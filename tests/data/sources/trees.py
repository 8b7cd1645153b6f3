"""Small trees of files that are laid out like corpora."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bljust_jax.data.corpora import Utterance
from bljust_jax.data.preparing.rejection import Rejection
from bljust_jax.data.sources.layouts import LAYOUTS


def write_text(root: Path, files: dict[str, str | bytes]) -> None:
    """Writes files by their paths below `root`."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def noise(seconds: float, rate: int = 16000, channels: int = 1) -> np.ndarray:
    """int16 [samples, channels], other in every channel."""
    return np.random.default_rng(0).integers(-8000, 8000, (round(seconds * rate), channels)).astype(np.int16)


def write_audio(root: Path, *names: str, rate: int = 16000, channels: int = 1, **options: str) -> None:
    """Writes a second of noise to each path, in the format of its suffix."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, noise(1.0, rate, channels), rate, **options)


def read(corpus: str, root: Path, split: str) -> tuple[list[Utterance], list[Rejection]]:
    """What a layout yields, apart."""
    records = list(LAYOUTS[corpus].read(root, split))
    assert {record.split for record in records} <= {split}
    return (
        [record for record in records if isinstance(record, Utterance)],
        [record for record in records if isinstance(record, Rejection)],
    )


@contextlib.contextmanager
def unlistable(*folders: Path) -> Iterator[None]:
    """Within it, the content of these folders cannot be listed, not even by root."""
    scandir = os.scandir

    def refusing(path='.'):
        if Path(path) in folders:
            raise PermissionError(errno.EACCES, 'Permission denied', os.fspath(path))
        return scandir(path)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, 'scandir', refusing)
        yield
