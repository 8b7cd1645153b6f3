"""What a recording and its transcript must satisfy to be taken."""

from dataclasses import dataclass, field

from bljust_jax.config import NormaliserConfig


@dataclass(frozen=True)
class Rules:
    """The rules by which `examples` takes or rejects a record.

    Attributes:
        normaliser: the form that transcripts are brought into, and their alphabet; None takes them as they are.
        transcribed: splits in which a record without a transcript is rejected.
        min_seconds: shorter recordings are rejected.
        max_seconds: longer transcribed recordings are rejected.
        cut_seconds: longer untranscribed recordings are cut at pauses into pieces of no more than this.
        min_piece_seconds: the shortest such piece.
        silent_peak: recordings that keep within a band of this width (of 65536 values of int16) are silent. 32 is 66 dB
            below full scale.
        max_clipped: recordings with a larger share of samples at full scale (see `examples.FULL_SCALE`) are clipped.
        frame_seconds: a transcript may have no more labels, its characters and one blank between equal neighbours, than
            the recording has frames of this length: more cannot be aligned by CTC. 0 allows all.
    """

    normaliser: NormaliserConfig | None = field(default_factory=NormaliserConfig)
    transcribed: tuple[str, ...] = ()
    min_seconds: float = 0.1
    max_seconds: float = 60.0
    cut_seconds: float = 20.0
    min_piece_seconds: float = 2.0
    silent_peak: int = 32
    max_clipped: float = 0.01
    frame_seconds: float = 0.04


# For corpora that are pinned, with what is not wanted already left out.
TAKE_ALL = Rules(
    normaliser=None,
    min_seconds=0.0,
    max_seconds=1e9,
    cut_seconds=1e9,
    silent_peak=-1,
    max_clipped=1.0,
    frame_seconds=0.0,
)
