"""Speech, text and features."""

import dataclasses

from bljust_jax.config.fields import Demand, Demands, checked, choice, not_negative, positive

SAMPLE_RATE = 16_000  # of all audio, in Hz


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which speech, and how it is cut into batches.

    Attributes:
      corpus: name of a prepared corpus (`python -m bljust_jax.prepare --help` lists them).
      data_dir: folder of prepared corpora; empty means the user's cache directory.
      labelled: split with transcripts, read by the upper level.
      unlabelled: split whose transcripts are never read, for the lower level.
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


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """`kind`: char, unigram or bpe (SentencePiece); `vocab_size` (blank included) is for the last two."""

    kind: str = choice('char', 'unigram', 'bpe')
    vocab_size: int = 256


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
    """SpecAugment (arXiv 1904.08779): masks' number and largest width, in mels and in frames.

    `time_ratio` bounds a time mask by this fraction of the utterance, for short ones.
    """

    frequency_masks: int = not_negative(2)
    frequency_width: int = not_negative(20)
    time_masks: int = not_negative(2)
    time_width: int = not_negative(40)
    time_ratio: float = not_negative(0.1)
