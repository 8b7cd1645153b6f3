"""Corpora that a user has: manifests and folders of any kind, or a corpus as its publishers lay it out."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from bljust_jax.data.preparing.build import build
from bljust_jax.data.preparing.finish import About, Tally
from bljust_jax.data.preparing.plan import Record, Shard, plan
from bljust_jax.data.preparing.pool import Write
from bljust_jax.data.preparing.rejection import Rejection
from bljust_jax.data.preparing.rules import Rules
from bljust_jax.data.sources.archives import extract, is_archive
from bljust_jax.data.sources.layouts import find_layout
from bljust_jax.data.sources.manifests import read_manifest
from bljust_jax.errors import UserError

# Flag of `bljust_jax.prepare` to split.
SPLITS = {'labelled': 'train_labelled', 'unlabelled': 'train_unlabelled', 'dev': 'dev', 'test': 'test'}
UNTRANSCRIBED = 'train_unlabelled'


class Options(TypedDict):
    """Of `build`."""

    workers: int
    max_rejected: float
    overwrite: bool
    write: Write


def prepare_manifests(
    name: str,
    sources: Mapping[str, Sequence[str]],
    rules: Rules,
    data_dir: Path,
    *,
    audio_root: str | None = None,
    **options: Unpack[Options],
) -> dict[str, Tally]:
    """Makes the corpus `name` of manifests, and returns what became of the records of each split.

    Args:
        name: of the corpus.
        sources: the manifests or folders of each flag in `SPLITS`; those of `manifest` have rows that name their split.
            Archives of them are unpacked below `data_dir`.
        rules: by which records are rejected.
        data_dir: a folder that exists.
        audio_root: the folder that all audio lies in (see `read_manifest`).
        options: see `build`.

    Raises:
        UserError: a manifest cannot be read, and all that `build` raises.
    """
    opened = [
        (SPLITS.get(flag, ''), *_unpacked(_source(flag, path), SPLITS.get(flag, ''), data_dir))
        for flag, paths in sources.items()
        for path in paths
    ]

    root = None if audio_root is None else Path(audio_root).expanduser()

    def records() -> Iterator[Record]:
        for split, path, rejections in opened:
            yield from rejections
            yield from read_manifest(path, split, transcribed=split != UNTRANSCRIBED, root=root)

    wanted = tuple(split for flag, split in SPLITS.items() if sources.get(flag))
    places = {'audio_root': [audio_root]} if audio_root else {}
    about = About(name, sources={'name': [name], **sources, **places}, splits=wanted)
    return build(about, lambda: plan(records(), rules), rules, data_dir, **options)


def prepare_layout(
    name: str, root: str, rules: Rules, data_dir: Path, **options: Unpack[Options]
) -> tuple[str, dict[str, Tally]]:
    """Makes a corpus that `find_layout` knows, and returns what it is called; otherwise like `prepare_manifests`."""
    folder, rejections = _unpacked(Path(root).expanduser(), '', data_dir)
    if not folder.is_dir():
        raise UserError(f'--source={root} is not a folder.')
    layout = find_layout(name, folder)
    splits = layout.present(folder)

    def shards() -> Iterator[Shard]:
        yield from plan(rejections, rules)
        for split in splits:
            yield from plan(layout.read(folder, split), rules)

    about = About(
        layout.name,
        layout.description,
        layout.licence,
        layout.citation,
        layout.homepage,
        {'corpus': [name], 'source': [root]},
        splits,
    )
    return layout.name, build(about, shards, rules, data_dir, **options)


def _source(flag: str, text: str) -> Path:
    path = Path(text).expanduser()
    if ',' in text and not path.exists():
        several = ' '.join(f'--{flag}={part}' for part in text.split(','))
        raise UserError(f'--{flag}={text} does not exist; for several sources, repeat the flag: {several}.')
    return path


def _unpacked(path: Path, split: str, data_dir: Path) -> tuple[Path, list[Rejection]]:
    """A source, out of its archive if it is one, and the members that were not taken."""
    if not (is_archive(path) and path.is_file()):
        return path, []
    found = path.stat()
    key = hashlib.sha256(f'{path.resolve()} {found.st_size} {found.st_mtime_ns}'.encode()).hexdigest()[:8]
    rejections: list[Rejection] = []
    folder = extract(path, data_dir / 'unpacked' / f'{path.name}-{key}', reject=rejections.append)
    return folder, rejections
