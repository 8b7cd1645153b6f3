"""From shards to a corpus: numbering, what TFDS needs to read it, lengths, checksums, and what was rejected."""

import json
import os
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.dataset_info import DatasetIdentity
from tensorflow_datasets.core.naming import ShardedFileTemplate

from bljust_jax.config import SAMPLE_RATE
from bljust_jax.data import dataset
from bljust_jax.data.preparing.plan import Extent, Seen
from bljust_jax.data.preparing.rules import Rules
from bljust_jax.data.preparing.shards import FORMAT, Part, features, part_path, read_part
from bljust_jax.data.text import save_normaliser
from bljust_jax.errors import UserError

REJECTED = 'rejected.jsonl'
CHECKSUMS = 'checksums.json'


@dataclass(frozen=True)
class About:
    """What people want to know of a corpus.

    Attributes:
        name: of its folder.
        description, licence, citation, homepage: see `Corpus`.
        sources: where it comes from: flags of `bljust_jax.prepare` and what they are set to.
        splits: that must not be empty.
    """

    name: str
    description: str = ''
    licence: str = ''
    citation: str = ''
    homepage: str = ''
    sources: Mapping[str, Sequence[str]] = field(default_factory=dict)
    splits: tuple[str, ...] = ()


@dataclass
class Tally:
    """What became of the records of a split.

    Attributes:
        records: all of them, rejected ones included.
        utterances: examples that came of them.
        samples: of these.
        rejected: how often for each reason.
    """

    records: int = 0
    utterances: int = 0
    samples: int = 0
    rejected: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Split:
    """The shards of a split: parts are read again where their columns are needed, so that they need no memory.

    `widths` are the longest id and speaker, in characters.
    """

    parts: list[Path]
    lengths: list[int]
    size: int
    widths: dict[str, int]


def tally(folder: Path, names: Iterable[str]) -> dict[str, Tally]:
    """What became of the records of each split, by the parts `names` in `folder`; writes `rejected.jsonl` there."""
    found: dict[str, Tally] = {}
    with (folder / REJECTED).open('w') as file:
        for name in names:
            part = _part(folder, name)
            sums = found.setdefault(part.split, Tally())
            sums.records += part.records
            sums.utterances += len(part.ids)
            sums.samples += sum(part.samples)
            sums.rejected.update(rejection['reason'] for rejection in part.rejected)
            file.writelines(json.dumps(rejection) + '\n' for rejection in part.rejected)
    return found


def check_rejected(about: About, folder: Path, tallies: Mapping[str, Tally], most: float) -> None:
    """Raises a `UserError` if more than the share `most` of the records was rejected, or nothing is left of a split."""
    records = sum(sums.records for sums in tallies.values())
    reasons = sum((sums.rejected for sums in tallies.values()), Counter[str]())
    if not records:
        raise UserError(f'There is not a single record in {_sources(about)}.')
    empty = [split for split in about.splits if split not in tallies or not tallies[split].utterances]
    if reasons.total() <= most * records and not empty and any(sums.utterances for sums in tallies.values()):
        return
    if not reasons:
        raise UserError(f'There is no record for {" and ".join(empty)} in {_sources(about)}.')
    reason, count = reasons.most_common(1)[0]
    example = next(line for line in _rejections(folder) if line['reason'] == reason)
    shown = f'{example["id"][:60]} ({example["detail"][:120]})'
    what = f'no record of {" and ".join(empty)} is left' if empty else f'--max_rejected is {most:g}'
    raise UserError(
        f'{reasons.total():,} of {records:,} records of {about.name} ({reasons.total() / records:.1%}) were rejected, '
        f'and {what}: most for "{reason}" ({count:,}), such as {shown}. All of them are in {folder / REJECTED}; '
        'mend the source or raise --max_rejected, and run the same command again: it goes on from what is there.'
    )


def finish(
    about: About,
    rules: Rules,
    folder: Path,
    names: Sequence[str],
    tallies: Mapping[str, Tally],
    extent: Extent,
    target: Path,
) -> None:
    """Makes the corpus of the shards `names` in `folder` as the new folder `target`; it is not moved from there.

    Shards become links where the file system has them, so this can be done again.

    Raises:
        UserError: the pieces of long recordings have the id of another utterance.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    splits = {split: _read_split(folder, names, split) for split, sums in tallies.items() if sums.utterances}
    info = _dataset_info(about, target)
    checksums: dict[str, str] = {}
    infos = []
    for split, content in splits.items():
        template = ShardedFileTemplate(target, dataset_name=about.name, split=split, filetype_suffix=FORMAT)
        for index, path in enumerate(content.parts):
            part = _part(folder, path.stem)
            shard = Path(template.sharded_filepath(shard_index=index, num_shards=len(content.parts)))
            _link(folder / part.file, shard)
            checksums[shard.name] = part.sha256
        infos.append(
            tfds.core.SplitInfo(
                name=split, shard_lengths=content.lengths, num_bytes=content.size, filename_template=template
            )
        )
        _check_ids(about.name, split, content)
        write_sidecar(dataset.sidecar_path(target, split), content)
    info.set_file_format(FORMAT)
    info.set_splits(tfds.core.splits.SplitDict(infos))
    info.write_to_directory(target)
    if rules.normaliser is not None:
        save_normaliser(target, rules.normaliser)
    shutil.copyfile(folder / REJECTED, target / REJECTED)
    (target / CHECKSUMS).write_text(json.dumps(checksums, indent=1))
    dataset.preparation_path(target).write_text(json.dumps(preparation_of(about, rules, tallies, extent), indent=1))


def summary(tallies: Mapping[str, Tally]) -> str:
    """A table of the splits, utterances, hours and rejected records; and the reasons of these."""
    width = max(len('split'), *(len(split) for split in tallies))
    lines = [f'{"split":<{width}}  utterances     hours  rejected']
    for split, sums in tallies.items():
        hours = sums.samples / SAMPLE_RATE / 3600
        lines.append(f'{split:<{width}}  {sums.utterances:>10,}  {hours:>8.2f}  {sums.rejected.total():>8,}')
    for split, sums in tallies.items():
        lines += [f'rejected in {split}: {count:,} for "{reason}"' for reason, count in sums.rejected.most_common()]
    return '\n'.join(lines)


def preparation_of(about: About, rules: Rules, tallies: Mapping[str, Tally], extent: Extent) -> dict[str, Any]:
    """What `preparation.json` says."""
    return {
        'name': about.name,
        'sources': {flag: list(values) for flag, values in about.sources.items()},
        'rules': json.loads(json.dumps(asdict(rules))),
        'fingerprint': extent.fingerprint,
        'splits': {split: vars(sums) | {'rejected': dict(sums.rejected)} for split, sums in tallies.items()},
    }


def tallies_of(preparation: Mapping[str, Any]) -> dict[str, Tally]:
    """The tallies in the content of `preparation.json`."""
    return {
        split: Tally(sums['records'], sums['utterances'], sums['samples'], Counter(sums['rejected']))
        for split, sums in preparation['splits'].items()
    }


def _part(folder: Path, name: str) -> Part:
    part = read_part(part_path(folder, name))
    if part is None:
        raise ValueError(f'{part_path(folder, name)} is missing or damaged')
    return part


def _read_split(folder: Path, names: Sequence[str], split: str) -> _Split:
    parts, lengths, size, widths = [], [], 0, {'ids': 1, 'speakers': 1}
    for name in names:
        if name.rpartition('-')[0] == split and (part := _part(folder, name)).ids:
            parts.append(part_path(folder, name))
            lengths.append(len(part.ids))
            size += part.size
            for column in widths:
                widths[column] = max(widths[column], *map(len, getattr(part, column)))
    return _Split(parts, lengths, size, widths)


def _check_ids(corpus: str, split: str, content: _Split) -> None:
    seen = Seen()
    for name in _column(content, 'ids'):
        if not seen.add(name):
            raise UserError(
                f'{corpus}/{split} has two utterances with the id {name!r}, one of them a piece of a long recording: '
                'rename the other.'
            )


def _column(content: _Split, name: str) -> Iterator[Any]:
    for path in content.parts:
        yield from getattr(_part(path.parent, path.stem), name)


def write_sidecar(path: Path, content: _Split) -> None:
    """Writes the columns of a split as an `.npz` file, a shard at a time (see `dataset.sidecar_path`)."""
    types = {
        'ids': f'<U{content.widths["ids"]}',
        'samples': '<i4',
        'characters': '<i4',
        'speakers': f'<U{content.widths["speakers"]}',
    }
    with zipfile.ZipFile(path, 'w') as archive:
        for name, dtype in types.items():
            with archive.open(zipfile.ZipInfo(f'{name}.npy'), 'w', force_zip64=True) as file:
                header = {'descr': dtype, 'fortran_order': False, 'shape': (sum(content.lengths),)}
                np.lib.format.write_array_header_1_0(file, header)
                for part in content.parts:
                    file.write(np.array(getattr(_part(part.parent, part.stem), name), dtype).tobytes())


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)


def _dataset_info(about: About, folder: Path) -> tfds.core.DatasetInfo:
    identity = DatasetIdentity(
        name=about.name, version=tfds.core.Version(folder.name), data_dir=str(folder), module_name=__name__
    )
    licence = f' Licence: {about.licence}.' if about.licence else ''
    return tfds.core.DatasetInfo(
        builder=identity,
        description=f'{about.description or about.name}{licence}',
        citation=about.citation,
        homepage=about.homepage,
        features=features(),
        metadata=tfds.core.MetadataDict(sample_rate=SAMPLE_RATE),
        disable_shuffling=True,
    )


def _rejections(folder: Path) -> Iterator[dict[str, str]]:
    with (folder / REJECTED).open() as file:
        yield from map(json.loads, file)


def _sources(about: About) -> str:
    return ', '.join(f'--{flag}={value}' for flag, values in about.sources.items() for value in values) or about.name
