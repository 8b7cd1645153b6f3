"""`synthetic_voices`: made-up sentences spoken by eSpeak NG, 20 minutes transcribed and 10 hours untranscribed.

It is synthetic speech, whose sounds are cleaner and more alike than people's: what holds here need not hold for real
speech. What it offers is a ratio of untranscribed to transcribed speech that real corpora of this size do not have.

A voice is a timbre (one of eSpeak's variants) with an accent, a speed and a pitch of its own. 80 voices are heard in
training; 8 of them, one an accent, are also the transcribed ones. 10 others speak in dev and 10 in test, with timbres
that are not heard in training. No sentence occurs twice in the corpus. Every utterance has its own speed and pitch,
close to those of its voice, and its own loudness and level of white noise.
"""

import functools
import io
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import soundfile

from bljust_jax.data.corpora.corpus import Corpus, Utterance
from bljust_jax.data.corpora.digest import SplitDigest
from bljust_jax.data.corpora.espeak import Speaker
from bljust_jax.data.corpora.synthetic_sentences import new_sentence

ACCENTS = 'en en-us en-gb-scotland en-029 en-gb-x-rp en-gb-x-gbclan en-gb-x-gbcwmd en-us-nyc'.split()
# Left out are whispers and robots, what echoes for long, what shifts the vowels beyond recognition,
# and what speaks much slower or faster than the rest.
_LABELLED_TIMBRES = 'm1 f1 m2 f4 david linda Michael f3'.split()
_OTHER_TIMBRES = (
    *('m4', 'm5', 'm7', 'm8', 'Andy', 'AnxiousAndy', 'Denis', 'Diogo', 'Gene', 'Gene2', 'Henrique', 'Hugo'),
    *('Jacky', 'Lee', 'Mario', 'Mike', 'Mr serious', 'Nguyen', 'adam', 'announcer', 'aunty'),
    *('belinda', 'croak', 'edward', 'edward2', 'grandpa', 'gustave', 'ian', 'iven2', 'iven3', 'iven4', 'klatt'),
    *('klatt2', 'klatt3', 'klatt6', 'marcelo', 'michel', 'miguel', 'mike2', 'norbert', 'pablo', 'rob'),
    *('robert', 'steph', 'steph2', 'steph3', 'victor', 'zac'),
)
_DEV_TIMBRES = 'm3 f2 Alex Andrea boris grandma quincy Reed pedro max'.split()
_TEST_TIMBRES = 'm6 f5 Annie anika benjamin paul Storm john sandro ed'.split()
_TRAINING_VOICES = 80

_CHARACTERS = range(45, 116)
_WORDS_PER_MINUTE = (125, 160)
_SPEEDS, _GAINS_DB, _SNR_DB = (0.94, 1.06), (-12.0, 0.0), (25.0, 40.0)


@dataclass(frozen=True)
class Voice:
    """A timbre with an accent: what eSpeak calls a variant and a language."""

    timbre: str
    accent: str

    @property
    def name(self) -> str:
        """The speaker as the corpus names it, such as `f1_en-us`."""
        return f'{self.timbre.lower().replace(" ", "-")}_{self.accent}'

    def speak(self, text: str, utterance: str, speaker: Speaker) -> bytes:
        """`text` as the bytes of an audio file; the name of the `utterance` decides how it varies."""
        own, source = random.Random(self.name), random.Random(utterance)
        speech = speaker.say(
            text,
            f'{self.accent}+{self.timbre}',
            words_per_minute=round(own.uniform(*_WORDS_PER_MINUTE) * source.uniform(*_SPEEDS)),
            pitch=round(own.uniform(35, 65) + source.uniform(-8, 8)),
            liveliness=round(own.uniform(40, 70) + source.uniform(-10, 10)),
        )
        speech = speech * (10 ** (source.uniform(*_GAINS_DB) / 20) / 2**15)
        noise = np.random.default_rng(source.getrandbits(64)).standard_normal(len(speech), np.float32)
        level = np.sqrt(np.mean(speech**2)) * 10 ** (-source.uniform(*_SNR_DB) / 20)
        file = io.BytesIO()
        soundfile.write(file, speech + level * noise, speaker.rate, format='WAV', subtype='PCM_16')
        return file.getvalue()


def voices(timbres: Sequence[str], count: int | None = None) -> list[Voice]:
    """`count` voices, one a timbre, the accents by turns; if that is too few, timbres return with another accent."""
    rounds = product(range(len(ACCENTS)), enumerate(timbres))
    found = [Voice(timbre, ACCENTS[(index + turn) % len(ACCENTS)]) for turn, (index, timbre) in rounds]
    return found[: len(timbres) if count is None else count]


@dataclass(frozen=True)
class Part:
    """One split: its voices and how many utterances each of them speaks."""

    split: str
    voices: Sequence[Voice]
    utterances: int


PARTS = (
    Part('train_labelled', voices(_LABELLED_TIMBRES), 41),
    Part('train_unlabelled', voices([*_LABELLED_TIMBRES, *_OTHER_TIMBRES], _TRAINING_VOICES), 123),
    Part('dev', voices(_DEV_TIMBRES), 40),
    Part('test', voices(_TEST_TIMBRES), 40),
)


def generate(parts: Sequence[Part]) -> Iterator[Utterance]:
    """Yields the utterances of `parts`, each of which is spoken only when it is read.

    Raises:
        UserError: eSpeak NG is not installed.
    """
    speaker, used = Speaker(), set[str]()
    for part in parts:
        source = random.Random(f'sentences of {part.split}')
        for voice, index in product(part.voices, range(part.utterances)):
            text, name = new_sentence(source, used, _CHARACTERS), f'{voice.name}-{index:03d}'
            recording = functools.partial(voice.speak, text, f'{part.split} {name}', speaker)
            yield Utterance(name, recording, text, voice.name, part.split)


def utterances(packages: Mapping[str, Path]) -> Iterator[Utterance]:
    """Yields every utterance of the corpus (see `Corpus.utterances`)."""
    del packages
    return generate(PARTS)


SYNTHETIC_VOICES = Corpus(
    name='synthetic_voices',
    version='1.0.0',
    packages=(),
    splits=tuple(part.split for part in PARTS),
    utterances=utterances,
    digests={
        'train_labelled': SplitDigest(328, 0.3389, '0c1f14decf9291780d082a1085283dbf5b219c2d143b2b46eafc0082180d39fe'),
        'train_unlabelled': SplitDigest(
            9840, 10.057, '9ae2b1c1e389f741f5bd734e64d7d8a06f3a284ab5e712e9ddb000f373c3e129'
        ),
        'dev': SplitDigest(400, 0.3982, 'a5a5295197dbda4d6813b398e015147adc8ef0b1a98b12643fe062fd403439d4'),
        'test': SplitDigest(400, 0.3941, 'c3a7643bba8bbf94ece1be5adcfd8b06ea7cf4163992ab4100d1bc131cfab06d'),
    },
    description='Synthetic speech: sentences of a grammar, spoken by 100 voices of eSpeak NG.',
    licence='Apache-2.0 (the sentences; the program that speaks them, eSpeak NG, is GPL-3.0-or-later)',
    citation='eSpeak NG 1.52, https://github.com/espeak-ng/espeak-ng.',
    homepage='https://github.com/espeak-ng/espeak-ng',
)
