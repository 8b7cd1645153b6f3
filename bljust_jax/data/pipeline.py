"""From a batch plan and the records of a split to numpy batches of fixed shapes, read ahead by threads."""

import collections
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import grain
import numpy as np

from bljust_jax.config import SAMPLE_RATE
from bljust_jax.data.augment import Augmenter, change_speed
from bljust_jax.data.dataset import Split
from bljust_jax.data.plan import BatchPlan, EvalPlan, PlannedBatch, Shape
from bljust_jax.data.text import Tokenizer
from bljust_jax.types import Batch

Host = TypeVar('Host')
Device = TypeVar('Device')


def stream(
    split: Split,
    plan: BatchPlan,
    tokenizer: Tokenizer | None,
    *,
    augment: Augmenter | None = None,
    start: int = 0,
    workers: int = 2,
    prefetch: int = 4,
    row_multiple: int = 1,
    host: int = 0,
    hosts: int = 1,
) -> Iterator[Batch]:
    """The endless stream of a plan's batches, from number `start` on.

    Batch i depends on the plan and the records alone, not on `start` or on the number of threads; the number of devices
    only adds empty rows at its end. A run resumes by starting at the number of batches that it has drawn. The pieces of
    a packed row follow each other without a gap, and their transcripts, with a space between, are encoded as one text.

    Args:
      split: the records.
      plan: made by `make_plan` from the lengths of the same split.
      tokenizer: encodes the transcripts; None for untranscribed audio, whose labels are `[rows, 0]` and whose text is
        never touched.
      augment: changes the audio of each piece, which is as long afterwards; see `make_augmenter`.
      start: number of the first batch.
      workers: reading threads; each reads a whole batch at a time.
      prefetch: batches read ahead.
      row_multiple: empty rows, of length 0, fill up a batch to a multiple of this (the devices it is spread over).
      host: index of this host.
      hosts: number of hosts; each reads its own consecutive part of the rows.

    Returns:
      Numpy batches in the shapes `plan.shapes`, filled up, of whose rows each host has its part.

    Raises:
      ValueError: the plan has no room for labels or cannot be shared by the hosts; or, while iterating, a record
        does not fit into its bucket.
    """
    shapes = [shape._replace(rows=shape.rows + -shape.rows % row_multiple) for shape in plan.shapes]
    _check(shapes, tokenizer, hosts)

    def read(step: int) -> Batch:
        batch = plan.batch(step)
        shape = shapes[batch.bucket]
        batch = _filled_up(batch, shape.rows)
        # Drawn row after row, so that the empty ones, which come last, change no crop.
        positions = np.random.default_rng([plan.seed, step]).random(batch.records.shape)
        first = host * (shape.rows // hosts)

        def augmented(audio: np.ndarray, row: int, piece: int) -> np.ndarray:
            return audio if augment is None else augment(audio, (step, first + row, piece))

        return _read(
            split,
            _host_rows(batch, host, hosts),
            _host_part(positions, host, hosts),
            augmented,
            crop_samples=plan.crop_samples,
            shape=shape,
            tokenizer=tokenizer,
        )

    return _read_ahead(grain.MapDataset.range(start, sys.maxsize).map(read), workers, prefetch)


def eval_batches(
    split: Split,
    plan: EvalPlan,
    tokenizer: Tokenizer | None,
    *,
    workers: int = 2,
    prefetch: int = 4,
    host: int = 0,
    hosts: int = 1,
) -> Iterator[tuple[np.ndarray, Batch]]:
    """All records of an evaluation, once each: pairs of record numbers `[rows]` (-1 for an empty row) and `Batch`.

    The arguments and errors are those of `stream`.
    """
    _check(plan.shapes, tokenizer, hosts)

    def read(step: int) -> tuple[np.ndarray, Batch]:
        batch = _host_rows(plan.batch(step), host, hosts)
        shape = plan.shapes[batch.bucket]
        uncropped = np.zeros(batch.records.shape)
        content = _read(split, batch, uncropped, _as_it_is, crop_samples=None, shape=shape, tokenizer=tokenizer)
        return batch.records[:, 0], content

    return _read_ahead(grain.MapDataset.range(len(plan)).map(read), workers, prefetch)


def to_device(batches: Iterable[Host], put: Callable[[Host], Device], depth: int = 2) -> Iterator[Device]:
    """Yields `put(batch)` for each batch, `depth` ahead of its use, so that transfers overlap with computing.

    `put` starts a transfer without waiting for it, as `jax.device_put` does.
    """
    moved = map(put, batches)
    waiting = collections.deque(itertools.islice(moved, depth))
    while waiting:
        yield waiting.popleft()
        waiting.extend(itertools.islice(moved, 1))


def measure_rate(batches: Iterator[Batch], count: int) -> float:
    """Seconds of audio, padding not counted, that `batches` delivers per second of waiting, over `count` batches."""
    began = time.perf_counter()
    samples = sum(int(batch.lengths.sum()) for batch in itertools.islice(batches, count))
    return samples / SAMPLE_RATE / (time.perf_counter() - began)


def _read_ahead(dataset: grain.MapDataset, workers: int, prefetch: int) -> Iterator[Any]:
    return iter(dataset.to_iter_dataset(grain.ReadOptions(num_threads=workers, prefetch_buffer_size=prefetch)))


def _read(
    split: Split,
    batch: PlannedBatch,
    positions: np.ndarray,
    augment: Callable[[np.ndarray, int, int], np.ndarray],
    *,
    crop_samples: int | None,
    shape: Shape,
    tokenizer: Tokenizer | None,
) -> Batch:
    """Reads the records of `batch` into arrays of `shape`; `positions [rows, pieces]` in [0, 1) place the crops.

    `augment` changes audio that is in a row, as a piece of it.
    """
    rows = len(batch.records)
    result = Batch(
        audio=_zeros((rows, shape.samples), np.int16),
        lengths=_zeros((rows,), np.int32),
        labels=_zeros((rows, 0 if tokenizer is None else shape.labels), np.int32),
        label_lengths=_zeros((rows,), np.int32),
        ends=_zeros(batch.records.shape, np.int32),
    )
    for row, pieces in enumerate(batch.records >= 0):
        if not pieces.any():
            continue
        records = batch.records[row, pieces].tolist()
        entries: list[Any] = [split.source[record] for record in records]
        ids = ', '.join(repr(str(split.ids[record])) for record in records)
        places = zip(entries, batch.speeds[row, pieces].tolist(), positions[row, pieces], strict=True)
        audio = [_perturb(entry['audio'], speed, position, crop_samples) for entry, speed, position in places]
        audio = [augment(samples, row, piece) for piece, samples in enumerate(audio)]
        result.lengths[row] = _fill(result.audio[row], np.concatenate(audio), 'samples', ids)
        result.ends[row, : len(audio)] = np.cumsum([len(piece) for piece in audio])
        if tokenizer is not None:
            labels = tokenizer.encode(' '.join(entry['text'] for entry in entries))
            result.label_lengths[row] = _fill(result.labels[row], labels, 'labels', ids)
    return result


def _zeros(shape: tuple[int, ...], dtype: type) -> Any:
    """NumPy zeros; `Batch` is typed by the `jax.Array`s that these become on the device."""
    return np.zeros(shape, dtype)


def _perturb(audio: np.ndarray, speed: float, position: float, crop_samples: int | None) -> np.ndarray:
    """`audio` at `speed`; of long audio, only `crop_samples` of it, and `position` in [0, 1) says which."""
    if crop_samples is None:
        return change_speed(audio, speed)
    size = math.ceil(crop_samples * speed)
    start = int(position * (max(len(audio) - size, 0) + 1))
    return change_speed(audio[start : start + size], speed)[:crop_samples]


def _as_it_is(audio: np.ndarray, row: int, piece: int) -> np.ndarray:
    return audio


def _fill(row: Any, values: Sequence[int] | np.ndarray, kind: str, ids: str) -> int:
    """Writes `values` to the beginning of `row` and returns their number."""
    if len(values) > len(row):
        raise ValueError(f'the row of {ids} has {len(values)} {kind}, but its bucket was planned for {len(row)}')
    row[: len(values)] = values
    return len(values)


def _filled_up(batch: PlannedBatch, rows: int) -> PlannedBatch:
    """`batch` with empty rows at its end, so that it has `rows`."""
    empty = ((0, rows - len(batch.records)), (0, 0))
    records = np.pad(batch.records, empty, constant_values=-1)
    return batch._replace(records=records, speeds=np.pad(batch.speeds, empty, constant_values=1.0))


def _host_rows(batch: PlannedBatch, host: int, hosts: int) -> PlannedBatch:
    """The rows of `batch` that `host` reads."""
    return batch._replace(records=_host_part(batch.records, host, hosts), speeds=_host_part(batch.speeds, host, hosts))


def _host_part(rows: np.ndarray, host: int, hosts: int) -> np.ndarray:
    size = len(rows) // hosts
    return rows[host * size : (host + 1) * size]


def _check(shapes: Sequence[Shape], tokenizer: Tokenizer | None, hosts: int) -> None:
    if tokenizer is not None and not shapes[0].labels:
        raise ValueError('the plan was made without characters, so it has no room for the labels of a tokenizer')
    if any(shape.rows % hosts for shape in shapes):
        raise ValueError(f'rows {[shape.rows for shape in shapes]} cannot be shared by {hosts} hosts: see row_multiple')
