"""From a plan to a corpus: shards, finish; stopped at any moment, it goes on from the shards that are there."""

import functools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from bljust_jax.data import dataset
from bljust_jax.data.preparing.finish import About, Tally, check_rejected, finish, preparation_of, tallies_of, tally
from bljust_jax.data.preparing.plan import Extent, Fingerprint, Shard, measure
from bljust_jax.data.preparing.pool import Write, write_shards
from bljust_jax.data.preparing.progress import Progress
from bljust_jax.data.preparing.rejection import Reason
from bljust_jax.data.preparing.rules import Rules
from bljust_jax.data.preparing.shards import Part, part_path, read_part
from bljust_jax.errors import UserError


def partial_dir(data_dir: Path, name: str) -> Path:
    """Where the shards of a corpus are while it is made."""
    return data_dir / f'.{name}.partial'


def build(
    about: About,
    plan: Callable[[], Iterable[Shard]],
    rules: Rules,
    data_dir: Path,
    *,
    workers: int,
    max_rejected: float = 0.05,
    overwrite: bool = False,
    write: Write = write_shards,
    check: Callable[[Path], Any] = lambda folder: None,
) -> dict[str, Tally]:
    """Makes the corpus `about.name` under `data_dir`, and returns what became of the records of each split.

    Shards that an earlier try left behind are used if their records, files and rules are still the same. The corpus
    appears whole, once `check` has passed its folder.

    Args:
        about: what it is called, and what for.
        plan: yields its shards; is called twice, and must yield the same.
        rules: that the plan was made with.
        data_dir: a folder that exists, of which no other process makes the same corpus.
        workers: number of processes; 0 does everything in this one.
        max_rejected: the largest share of the records that may be rejected.
        overwrite: replaces a corpus of other sources or rules, or one with files that could not be read.
        write: writes the shards.
        check: raises if the finished folder is not what it should be.

    Raises:
        UserError: the corpus is there with another content, the source changed in the meantime, or too much was
            rejected.
    """
    target = dataset.version_dir(data_dir, about.name)
    extent = measure(plan(), Progress(about.name).count)
    if target.is_dir() and (known := _same(about, rules, extent, target, overwrite)):
        check_rejected(about, target, known, max_rejected)
        shutil.rmtree(partial_dir(data_dir, about.name), ignore_errors=True)
        return known
    folder = partial_dir(data_dir, about.name)
    folder.mkdir(exist_ok=True)
    names = _write(about, plan, extent, rules, folder, functools.partial(write, workers=workers))
    tallies = tally(folder, names)
    check_rejected(about, folder, tallies, max_rejected)
    whole = folder / 'whole' / about.name / target.name
    with dataset.quiet_tfds():
        finish(about, rules, folder, names, tallies, extent, whole)
        check(whole)
    _replace(whole, target, folder / 'replaced')
    shutil.rmtree(folder)
    return tallies


def _same(about: About, rules: Rules, extent: Extent, target: Path, overwrite: bool) -> dict[str, Tally] | None:
    """The tallies of the corpus that is there, if it is the one that is asked for; None if it is to be replaced."""
    known = dataset.read_preparation(target)
    if known.get('fingerprint') == extent.fingerprint:
        tallies = tallies_of(known)
        again = overwrite and any(_may_pass(sums.rejected) for sums in tallies.values())
        return None if again else tallies
    if overwrite:
        return None
    wanted, had = preparation_of(about, rules, {}, extent)['rules'], known.get('rules', {})
    changed = [
        f'{name}={had.get(name)!r} instead of {wanted[name]!r}' for name in wanted if had.get(name) != wanted[name]
    ]
    what = f'with other rules ({", ".join(changed)})' if changed else 'of other records, or their files have changed'
    raise UserError(
        f'{about.name} was prepared in {target} {what}: --overwrite prepares it again, another --name beside it.'
    )


def _write(
    about: About,
    plan: Callable[[], Iterable[Shard]],
    extent: Extent,
    rules: Rules,
    folder: Path,
    write: Callable[..., None],
) -> list[str]:
    """Writes the shards that are not there yet, and returns the names of all in their order."""
    names: list[str] = []
    progress = Progress(about.name, extent)

    def missing(shards: Iterable[Shard]) -> Iterator[Shard]:
        for shard in shards:
            if _is_there(folder, shard):
                progress.skip(shard)
            else:
                yield shard

    def noted(shards: Iterable[Shard]) -> Iterator[Shard]:
        for shard in shards:
            names.append(shard.name)
            content.update(shard)
            yield shard

    for path in folder.glob('*.tmp'):  # of a run that was killed
        path.unlink()
    content = Fingerprint()
    write(missing(noted(plan())), folder, rules, note=progress.note)
    if content.hexdigest() != extent.fingerprint:
        raise UserError(f'The source of {about.name} changed while it was read: run the same command again.')
    progress.end()
    return names


def _is_there(folder: Path, shard: Shard) -> bool:
    """Whether a shard is written, of the same records by the same rules; what is left of another is removed."""
    path = part_path(folder, shard.name)
    part = read_part(path)
    if part and part.fingerprint == shard.fingerprint and _is_whole(folder, part) and not _may_pass(_reasons(part)):
        return True
    path.unlink(missing_ok=True)
    return False


def _is_whole(folder: Path, part: Part) -> bool:
    if not part.file:
        return True
    file = folder / part.file
    return file.is_file() and file.stat().st_size == part.stored


def _reasons(part: Part) -> set[str]:
    return {rejection['reason'] for rejection in part.rejected}


def _may_pass(reasons: Iterable[str]) -> bool:
    """Whether records were rejected for what can be otherwise the next time, though sizes and times are the same."""
    return Reason.UNREADABLE in reasons


def _replace(whole: Path, target: Path, old: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    if target.is_dir():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(target, old)
    os.replace(whole, target)
