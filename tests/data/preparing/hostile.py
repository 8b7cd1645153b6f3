"""Recordings that do harm to whoever reads them; picklable, for processes of a pool."""

import os
import signal
import time

import numpy as np
import soundfile

from bljust_jax.data.utterance import Utterance
from bljust_jax.errors import UserError
from tests.data import fakes


def crash() -> bytes:
    os.kill(os.getpid(), signal.SIGSEGV)
    return b''


def hang() -> bytes:
    time.sleep(600)
    return b''


def refuse() -> bytes:
    raise UserError('nobody can read this')


def utterances(count: int, special: dict[int, object] | None = None, split: str = 'dev') -> list[Utterance]:
    """`count` short utterances; `special` says what some of them are recorded as instead."""
    special = special or {}
    return [
        Utterance(f'u{index}', special.get(index, fakes.sound(0.5 + index % 7 / 10)), 'hello', 'ann', split)
        for index in range(count)
    ]


def write_corpus(folder, rows: int, seconds: float = 1.0) -> None:
    """A table of noisy tones in FLAC."""
    random = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    lines = ['audio,text,speaker']
    for index in range(rows):
        audio = 0.2 * np.sin(np.arange(int(16000 * seconds)) * (0.05 + index / 1000)) + 0.02 * random.standard_normal(
            int(16000 * seconds)
        )
        soundfile.write(folder / f'{index:04d}.flac', audio, 16000)
        lines.append(f'{index:04d}.flac,hello there,ann')
    (folder / 'table.csv').write_text('\n'.join(lines) + '\n')
