"""`smoke`: a made-up language of whistled letters, for tests and for trying a change in seconds.

Each letter is a pair of tones, so a model of any size learns it quickly; nothing is downloaded.
"""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import soundfile

from bljust_jax.config import SAMPLE_RATE
from bljust_jax.data.corpora.corpus import Corpus, Utterance

_LETTERS = 'aeiklmnostu'
_SIZES = {'train_labelled': 64, 'train_unlabelled': 96, 'dev': 12, 'test': 12}
_SPEAKERS = {'low': 1.0, 'high': 1.15}


def _utterances(packages: Mapping[str, Path]) -> Iterator[Utterance]:
    del packages
    random = np.random.default_rng(0)
    words = [''.join(random.choice(list(_LETTERS), random.integers(2, 5))) for _ in range(24)]
    for split, size in _SIZES.items():
        for index in range(size):
            text = ' '.join(random.choice(words, random.integers(1, 4)))
            speaker = list(_SPEAKERS)[index % len(_SPEAKERS)]
            recording = io.BytesIO()
            soundfile.write(
                recording, _whistle(text, _SPEAKERS[speaker], random), SAMPLE_RATE, format='WAV', subtype='PCM_16'
            )
            transcript = None if split == 'train_unlabelled' else text
            yield Utterance(f'{split}-{index:03d}', recording.getvalue(), transcript, speaker, split)


def _whistle(text: str, pitch: float, random: np.random.Generator) -> np.ndarray:
    """`text` at about ten letters a second, with a little noise: float64 `[samples]` in [-1, 1]."""
    pieces = []
    for letter in f' {text} ':
        time = np.arange(int(SAMPLE_RATE * random.uniform(0.09, 0.13))) / SAMPLE_RATE
        index = _LETTERS.find(letter)
        tones = pitch * np.array([300 + 45 * index, 1200 + 170 * (index * 4 % len(_LETTERS))])
        tone = np.sin(2 * np.pi * tones[:, None] * time).sum(axis=0) * np.hanning(len(time)) if index >= 0 else 0 * time
        pieces.append(0.25 * tone)
    audio = np.concatenate(pieces)
    return audio + 0.005 * random.standard_normal(len(audio))


SMOKE = Corpus(
    name='smoke',
    version='1.0.0',
    packages=(),
    splits=tuple(_SIZES),
    utterances=_utterances,
    digests={},
    description='A made-up language of whistled letters, generated in a second: for tests.',
    licence='Apache-2.0',
    citation='',
    homepage='',
)
