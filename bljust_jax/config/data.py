"""Speech, text and features."""

import dataclasses
import math
import re
from typing import Any

from bljust_jax.config.fields import Demand, Demands, checked, choice, not_negative, positive, probability

SAMPLE_RATE = 16_000  # of all audio, in Hz


def _limits(low: float, high: float) -> Any:
    """Two numbers, the lower one first."""

    def ordered(limits: tuple[float, ...]) -> bool:
        return len(limits) == 2 and all(map(math.isfinite, limits)) and limits[0] <= limits[1]

    return checked((low, high), ordered, 'be two finite numbers, the lower one first')


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which speech, and how it is cut into batches.

    Attributes:
      corpus: name of a prepared corpus (`python -m bljust_jax.prepare --help` lists them).
      data_dir: folder of prepared corpora; empty means the user's cache directory.
      labelled: split with transcripts, read by the upper level; or several, as `[CORPUS/]SPLIT[*WEIGHT]` with commas
        between. They mix within every batch; an utterance of weight 2 is heard twice as often as one of weight 1.
      unlabelled: the same for the lower level; their transcripts are never read.
      labelled_hours, unlabelled_hours: how much of each split is trained on; 0 is all. The part is the same for all
        seeds, is inside every larger one, and has all speakers in proportion. The tokenizer is that of the whole split.
      batch_seconds: audio per labelled batch, padding included, in seconds.
      unlabelled_batch_seconds: the same for the unlabelled stream.
      pack_seconds: shorter labelled utterances are strung together into rows of up to this; 0 gives each its own
        row. Unlabelled ones are strung together into rows of `crop_seconds`. Each has its own for CPC, and where an
        attention decoder learns where utterances end (attention, hybrid).
      buckets, unlabelled_buckets: number of different row lengths (compiled shapes) of each stream.
      max_seconds: longer labelled utterances are left out (counted in the log).
      crop_seconds: longer unlabelled utterances are cropped at random to this.
      speeds: speed-perturbation factors; an epoch passes over every record once at each.
      workers: reading threads of each stream.
      allow_leakage: train although an audit found audio that is tested on in what is trained on.
    """

    corpus: str = 'phone_prompts'
    data_dir: str = ''
    labelled: str = 'train_labelled'
    unlabelled: str = 'train_unlabelled'
    labelled_hours: float = not_negative(0.0)
    unlabelled_hours: float = not_negative(0.0)
    batch_seconds: float = positive(64.0)
    unlabelled_batch_seconds: float = positive(64.0)
    pack_seconds: float = not_negative(8.0)
    buckets: int = positive(2)
    unlabelled_buckets: int = positive(1)
    max_seconds: float = positive(20.0)
    crop_seconds: float = positive(8.0)
    speeds: tuple[float, ...] = checked(
        (0.9, 1.0, 1.1), lambda speeds: speeds and min(speeds) > 0, 'be positive numbers'
    )
    workers: int = positive(2)
    allow_leakage: bool = False


@dataclasses.dataclass(frozen=True)
class NormaliserConfig:
    """The form that transcripts are brought into. It is part of a corpus, and kept with it and with every run on it.

    Attributes:
      language: code of the language, such as en, pt-BR or hi.
      case: lower, upper, or keep it as it is.
      punctuation: drop it, symbols too, but for the apostrophes inside words; or keep it.
      numbers: in words (num2words says them in languages other than English), or keep the digits.
      accents: strip everything to ASCII, keep letters as they are, or auto: strip in English and keep elsewhere.
      alphabet: the characters that a transcript may have besides the space; others have it rejected. Empty is any;
        `language` is the letters of the language, for those of `data/text/alphabets.py`.
    """

    language: str = checked(
        'en',
        lambda code: re.fullmatch('[a-z]{2,3}([-_][A-Za-z0-9]+)*', code) is not None,
        'be the code of a language, such as en or pt-BR',
    )
    case: str = choice('lower', 'upper', 'keep')
    punctuation: str = choice('drop', 'keep')
    numbers: str = choice('words', 'keep')
    accents: str = choice('auto', 'strip', 'keep')
    alphabet: str = ''


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """From transcripts to labels.

    Attributes:
      kind: char (characters), byte (of UTF-8, any language), unigram or bpe (SentencePiece).
      vocab_size: number of labels, blank included, of unigram and bpe.
      byte_fallback: unigram and bpe write a character that they do not know as its bytes in UTF-8.
    """

    kind: str = choice('char', 'byte', 'unigram', 'bpe')
    vocab_size: int = 256
    byte_fallback: bool = False

    def demands(self, path: str) -> Demands:
        """What the fields must satisfy together."""
        yield Demand(
            not self.byte_fallback or self.kind in ('unigram', 'bpe'),
            'byte_fallback',
            f'be False with {path}.kind={self.kind}: it is for unigram and bpe',
        )


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """What is done to the waveforms of all training streams, besides `data.speeds`; by default nothing.

    Attributes:
      gain_db: limits of the gain, in decibels, such as (-6, 6); (0, 0) is none.
      gain_probability: of a gain, for each utterance.
      noise_dir: folder of recordings of noise, and of folders with them.
      snr_db: limits of the ratio of speech to noise, in decibels.
      noise_probability: of noise, for each utterance.
      reverb_dir: folder of impulse responses of rooms.
      reverb_probability: of reverberation, for each utterance.
    """

    gain_db: tuple[float, ...] = _limits(0.0, 0.0)
    gain_probability: float = probability(1.0)
    noise_dir: str = ''
    snr_db: tuple[float, ...] = _limits(5.0, 20.0)
    noise_probability: float = probability(0.5)
    reverb_dir: str = ''
    reverb_probability: float = probability(0.5)


@dataclasses.dataclass(frozen=True)
class LogMelConfig:
    """Log-mel filterbank: window and hop in seconds, band edges in Hz.

    `normalize` brings each mel of each utterance to mean 0 and standard deviation 1.
    """

    mels: int = positive(80)
    window: float = positive(0.025)
    hop: float = positive(0.010)
    fft_size: int = 512
    low_hz: float = not_negative(20.0)
    high_hz: float = 8000.0
    normalize: bool = True

    def demands(self, path: str) -> Demands:
        """What the fields must satisfy together."""
        yield Demand(
            self.low_hz < self.high_hz <= SAMPLE_RATE / 2,
            'high_hz',
            f'lie above {path}.low_hz ({self.low_hz}) and not above 8000 (audio is at 16 kHz)',
        )
        yield Demand(
            self.window * SAMPLE_RATE <= self.fft_size,
            'window',
            f'fit {path}.fft_size ({self.fft_size} samples at 16 kHz)',
        )


@dataclasses.dataclass(frozen=True)
class SpecAugmentConfig:
    """SpecAugment (arXiv 1904.08779), with time masks that adapt to the utterance (arXiv 1912.05533).

    The paper's adaptive masks, in number and in width: `time_masks=20 time_masks_ratio=0.04 time_ratio=0.04`, and a
    `time_width` that never is the bound, such as 1000.

    Attributes:
      frequency_masks, frequency_width: number of masks of mels, and the largest width, in mels.
      time_masks, time_width: the same of frames.
      time_ratio: bounds the width of a time mask by this fraction of the row.
      time_masks_ratio: there is one time mask for every 1 / `time_masks_ratio` frames of the row, but there are no more
        than `time_masks`; 0 is `time_masks` for all.
    """

    frequency_masks: int = not_negative(2)
    frequency_width: int = not_negative(20)
    time_masks: int = not_negative(2)
    time_width: int = not_negative(40)
    time_ratio: float = not_negative(0.1)
    time_masks_ratio: float = not_negative(0.0)
