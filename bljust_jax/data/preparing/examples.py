"""One record in, its examples out, or why there are none: a pure function, to be run by any number of workers."""

import functools
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from bljust_jax.config import SAMPLE_RATE, NormaliserConfig
from bljust_jax.data.preparing.audio import blocks
from bljust_jax.data.preparing.rejection import Reason, Rejection, Unusable
from bljust_jax.data.preparing.rules import Rules
from bljust_jax.data.text import Normaliser, check_text, make_normaliser, outside_alphabet
from bljust_jax.data.utterance import AudioFile, Utterance
from bljust_jax.errors import UserError

FULL_SCALE = 32000  # of int16; mu-law ends at 32124
_LONGEST_NAME = 200
_LONGEST_TEXT = 100_000
_SHOWN = 60  # characters of a text that a message quotes

_CONTROL = re.compile(r'[\x00-\x1f\x7f]')
_SURROGATES = re.compile(r'[\ud800-\udfff]')  # what Python makes of bytes that are not UTF-8


@dataclass(frozen=True)
class Example:
    """What is written of an utterance.

    Attributes:
        id, split, speaker: as in `Utterance`; the pieces of a long recording are `<id>@<start>-<end>`, in seconds.
        audio: int16 `[samples]` at 16 kHz.
        text: the normalised transcript; empty where there is none.
    """

    id: str
    split: str
    audio: np.ndarray
    text: str
    speaker: str


def examples(utterance: Utterance, rules: Rules) -> Iterator[Example | Rejection]:
    """Yields the example of an utterance, or the pieces of a long untranscribed one, or a single `Rejection`.

    A record is taken as a whole or not at all: a long recording is read once to find its pieces and whatever is wrong
    with it, and once more to cut them.
    """
    try:
        text = transcript(utterance, rules)
        recording = utterance.recording() if callable(utterance.recording) else utterance.recording
        for name, audio in _recordings(utterance.id, recording, text is not None, rules):
            if text:
                _check_labels(text, len(audio), rules)
            yield Example(name, utterance.split, audio, text or '', utterance.speaker)
    except Unusable as error:
        yield rejection(utterance, error)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # whatever else a hostile file makes a decoder raise
        yield rejection(utterance, Unusable(Reason.UNREADABLE, f'{type(error).__name__}: {error}'[:_LONGEST_NAME]))


def rejection(utterance: Utterance, error: Unusable) -> Rejection:
    """The record of an utterance that cannot be used."""
    source = str(utterance.recording.path) if isinstance(utterance.recording, AudioFile) else ''
    return Rejection(utterance.id, utterance.split, source, error.reason, error.detail)


def transcript(utterance: Utterance, rules: Rules) -> str | None:
    """The normalised transcript, None if there is none.

    Raises:
        Unusable: it or a name is not fit to be written, or it breaks the rules.
    """
    for kind, name in (('id', utterance.id), ('speaker', utterance.speaker)):
        if (
            len(name) > _LONGEST_NAME
            or _CONTROL.search(name)
            or _SURROGATES.search(name)
            or (kind == 'id' and not name)
        ):
            raise Unusable(Reason.BAD_ROW, f'the {kind} {name[:_SHOWN]!r} (1 to {_LONGEST_NAME} printable characters)')
    if utterance.text is None:
        if utterance.split in rules.transcribed:
            raise Unusable(Reason.EMPTY_TEXT, 'no transcript')
        return None
    raw = utterance.text
    if problem := check_text(raw):
        raise Unusable(Reason.BAD_TEXT, f'{problem}: {raw[:_SHOWN]!r}')
    if len(raw) > _LONGEST_TEXT:
        raise Unusable(Reason.TEXT_TOO_LONG, f'{len(raw)} characters: {raw[:_SHOWN]!r}')
    if rules.normaliser is None:
        return raw
    text = _normaliser(rules.normaliser)(raw)
    if not text:
        raise Unusable(Reason.EMPTY_TEXT, f'nothing is left of {raw[:_SHOWN]!r}')
    if unknown := outside_alphabet(text, rules.normaliser):
        raise Unusable(Reason.NOT_IN_ALPHABET, f'{"".join(unknown)[:_SHOWN]!r} in {text[:_SHOWN]!r}')
    return text


@functools.cache
def _normaliser(config: NormaliserConfig) -> Normaliser:
    return make_normaliser(config)


def _check_labels(text: str, samples: int, rules: Rules) -> None:
    """Refuses what CTC cannot align: a frame for each character, and one for the blank between equal ones."""
    if not rules.frame_seconds:
        return
    labels = len(text) + sum(one == other for one, other in itertools.pairwise(text))
    frames = int(samples / SAMPLE_RATE / rules.frame_seconds)
    if labels > frames:
        raise Unusable(Reason.TEXT_TOO_LONG, f'{labels} labels in {frames} frames: {text[:_SHOWN]!r}')


def _recordings(
    name: str, recording: AudioFile | bytes, transcribed: bool, rules: Rules
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the name and the samples of a recording, or of its pieces."""
    limit = rules.max_seconds if transcribed else rules.cut_seconds
    heard, parts = Heard(rules), []
    for block in heard.listen(blocks(recording)):
        parts.append(block)
        if heard.samples > limit * SAMPLE_RATE:
            break
    else:
        heard.check()
        yield name, np.concatenate([np.zeros(0, np.int16), *parts])
        return
    if transcribed:
        raise Unusable(Reason.TOO_LONG, f'more than {limit:g} s')
    del parts
    yield from _pieces(name, recording, rules)


def _pieces(name: str, recording: AudioFile | bytes, rules: Rules) -> Iterator[tuple[str, np.ndarray]]:
    from bljust_jax.data.preparing.vad import speech_pieces

    heard = Heard(rules)
    limits = {'min_seconds': rules.min_piece_seconds, 'max_seconds': rules.cut_seconds}
    spans = list(speech_pieces(heard.listen(blocks(recording)), **limits))
    heard.check()
    if not spans:
        raise Unusable(Reason.SILENT, f'no speech in {heard.samples / SAMPLE_RATE:.0f} s')
    for (start, end), piece in zip(spans, _cut(blocks(recording), spans), strict=True):
        yield f'{name}@{start / SAMPLE_RATE:.2f}-{end / SAMPLE_RATE:.2f}', piece


def _cut(audio: Iterable[np.ndarray], spans: Iterable[tuple[int, int]]) -> Iterator[np.ndarray]:
    """Yields the samples of each span (first, one after the last) out of blocks; spans rise and do not overlap."""
    coming = iter(audio)
    held, position = np.zeros(0, np.int16), 0  # `held` begins at `position`
    for start, end in spans:
        while position + len(held) < end:
            passed = min(max(start - position, 0), len(held))
            held, position = np.concatenate([held[passed:], next(coming)]), position + passed
        yield held[start - position : end - position]


class Heard:
    """What has been heard of a recording, to be checked at its end.

    Attributes:
        samples: how many, at 16 kHz.
    """

    def __init__(self, rules: Rules):
        self._rules = rules
        self.samples = self._clipped = 0
        self._lowest, self._highest = 2**15, -(2**15)

    def listen(self, audio: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Passes blocks of int16 on."""
        for block in audio:
            if len(block):
                lowest, highest = int(block.min()), int(block.max())
                self._lowest, self._highest = min(self._lowest, lowest), max(self._highest, highest)
                if max(-lowest, highest) >= FULL_SCALE:
                    self._clipped += int(np.count_nonzero((block >= FULL_SCALE) | (block <= -FULL_SCALE)))
                self.samples += len(block)
                yield block

    def check(self) -> None:
        """Refuses a recording that is too short, silent or clipped.

        Raises:
            Unusable: it is.
        """
        seconds = self.samples / SAMPLE_RATE
        if seconds < self._rules.min_seconds:
            raise Unusable(Reason.TOO_SHORT, f'{self.samples} samples, {seconds:.3f} s')
        if self.samples and self._highest - self._lowest <= self._rules.silent_peak:
            raise Unusable(Reason.SILENT, f'all samples are from {self._lowest} to {self._highest}')
        if self.samples and self._clipped / self.samples > self._rules.max_clipped:
            raise Unusable(Reason.CLIPPED, f'{self._clipped / self.samples:.1%} of the samples at full scale')
