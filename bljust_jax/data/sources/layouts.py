"""Corpora that a user has: `LAYOUTS` maps the name of each to how its folder is read."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from bljust_jax.data.sources import common_voice, fleurs, libri_light, librispeech, switchboard, tedlium2
from bljust_jax.data.sources.trees import Record, not_laid_out
from bljust_jax.errors import UserError

_TFDS = 'tfds:'


@dataclass(frozen=True)
class Layout:
    """A corpus as its publishers lay it out in a folder.

    Attributes:
        name: of the prepared corpus, and of the flag.
        splits: those that it can have.
        read: yields the records of a split in the folder, transcripts as they are written there but for markup, None
            where a split has none; a split that is not there is a `UserError`.
        has: whether a split is in the folder.
        expected: what the folder must hold, for messages.
        description, licence, citation, homepage: for people.
    """

    name: str
    splits: tuple[str, ...]
    read: Callable[[Path, str], Iterable[Record]]
    has: Callable[[Path, str], bool]
    expected: str
    description: str
    licence: str
    citation: str
    homepage: str

    def present(self, root: Path) -> tuple[str, ...]:
        """The splits that are in the folder `root`.

        Raises:
            UserError: there is none.
        """
        splits = tuple(split for split in self.splits if self.has(root, split))
        if not splits:
            raise not_laid_out(root, self.expected)
        return splits


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            'librispeech',
            librispeech.SPLITS,
            librispeech.read,
            librispeech.has,
            librispeech.EXPECTED,
            'LibriSpeech, 1,000 hours of audiobooks, and the parts of it that Libri-Light fine-tunes on.',
            'CC BY 4.0',
            'Panayotov, Chen, Povey, Khudanpur: LibriSpeech, an ASR corpus based on public domain audio books, 2015',
            'https://www.openslr.org/12',
        ),
        Layout(
            'libri_light',
            libri_light.SPLITS,
            libri_light.read,
            libri_light.has,
            libri_light.EXPECTED,
            'Libri-Light, 60,000 hours of audiobooks without transcripts.',
            'public domain',
            'Kahn et al.: Libri-Light, a benchmark for ASR with limited or no supervision, 2020',
            'https://github.com/facebookresearch/libri-light',
        ),
        Layout(
            'tedlium2',
            tedlium2.SPLITS,
            tedlium2.read,
            tedlium2.has,
            tedlium2.EXPECTED,
            'TED-LIUM, release 2: 207 hours of TED talks.',
            'CC BY-NC-ND 3.0',
            'Rousseau, Deléglise, Estève: Enhancing the TED-LIUM corpus with selected data, 2014',
            'https://www.openslr.org/19',
        ),
        Layout(
            'switchboard',
            switchboard.SPLITS,
            switchboard.read,
            switchboard.has,
            switchboard.EXPECTED,
            'Switchboard-1, release 2: 260 hours of telephone calls; the tests are of Hub-5 2000.',
            'LDC User Agreement',
            'Godfrey, Holliman: Switchboard-1 Release 2, LDC97S62, 1993',
            'https://catalog.ldc.upenn.edu/LDC97S62',
        ),
        Layout(
            'fleurs',
            fleurs.SPLITS,
            fleurs.read,
            fleurs.has,
            fleurs.EXPECTED,
            'A language of FLEURS, about 12 hours of read sentences.',
            'CC BY 4.0',
            'Conneau et al.: FLEURS, few-shot learning evaluation of universal representations of speech, 2022',
            'https://huggingface.co/datasets/google/fleurs',
        ),
        Layout(
            'common_voice',
            common_voice.SPLITS,
            common_voice.read,
            common_voice.has,
            common_voice.EXPECTED,
            'A language of Common Voice, sentences read by volunteers.',
            'CC0',
            'Ardila et al.: Common Voice, a massively-multilingual speech corpus, 2020',
            'https://commonvoice.mozilla.org',
        ),
    )
}


def find_layout(name: str, root: Path) -> Layout:
    """The layout called `name`; of `tfds:NAME`, that of the TFDS dataset `NAME` prepared in the folder `root`.

    Raises:
        UserError: no layout has this name, or the TFDS dataset is not there.
    """
    if name.startswith(_TFDS):
        from bljust_jax.data.sources import tfds  # which imports TensorFlow

        dataset_name = name.removeprefix(_TFDS)
        dataset = tfds.open_dataset(dataset_name, root)
        return Layout(
            dataset.name,
            dataset.splits,
            functools.partial(tfds.read, dataset_name),
            functools.partial(tfds.has, dataset_name),
            f'the TFDS dataset {dataset_name}',
            dataset.info.description,
            'that of the dataset',
            dataset.info.citation,
            dataset.info.homepage,
        )
    if name not in LAYOUTS:
        raise UserError(f'corpus={name!r} is unknown: choose one of {", ".join(LAYOUTS)} or tfds:NAME.')
    return LAYOUTS[name]
