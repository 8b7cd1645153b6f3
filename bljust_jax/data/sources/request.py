"""What a manifest is read for, which every reader is told."""

from dataclasses import dataclass
from pathlib import Path

from bljust_jax.data.preparing.rejection import Reason, Rejection, Unusable

UNLABELLED = 'train_unlabelled'


@dataclass(frozen=True)
class Request:
    """One manifest, or one folder, to be read.

    Attributes:
        path: of the manifest or the folder.
        split: that its rows go to; empty if each names its own.
        transcribed: whether transcripts are asked for; otherwise they are not even looked at.
        root: the folder that all audio lies in, and that relative names start from.
    """

    path: Path
    split: str
    transcribed: bool
    root: Path

    def wants_text(self, split: str) -> bool:
        """Whether an utterance of `split` needs a transcript: those of `train_unlabelled` never do."""
        return self.transcribed and (bool(self.split) or split != UNLABELLED)

    def without_text(self, id: str) -> Unusable:
        """What becomes of the utterance `id`, which has no transcript but should."""
        return Unusable(Reason.EMPTY_TEXT, f'there is no transcript of {id}')

    def rejection(self, where: int | str, refused: Unusable, *, id: str = '', split: str = '') -> Rejection:
        """The rejection of a row.

        Args:
            where: the number of its line; or the name of another file of the source and a line, such as `text:17`.
            refused: why.
            id: of the row, if it has a good one.
            split: that the row names, if it names one.
        """
        place = f'{self.path.name}{":" if isinstance(where, int) else "/"}{where}'
        detail = f'{place}: {refused.detail}'
        return Rejection(id or place, split or self.split, str(self.path), refused.reason, detail)
