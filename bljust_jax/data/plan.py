"""The batch plan: which records make up batch number i, decided by lengths alone, before any audio is read.

Step i -> (bucket, records, speeds) is a pure function of the seed and of the lengths, global over hosts. So all hosts
see the same shapes at the same step, and a run resumes by starting at the number of batches it has drawn.

An epoch passes once over every example, a record at one of the speeds. Every bucket holds the examples between its
bound and the next smaller one. Examples that do not fill a batch of their bucket go up into the next larger one; the
last batch of the largest is filled with further examples. Only the order is random, so all epochs have the same
number of batches, of the same shapes.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from bljust_jax.errors import UserError

SAMPLE_RATE = 16_000
# Bounds of buckets are multiples of this: 0.08 s, or eight frames of 10 ms.
QUANTUM = 1280


class Shape(NamedTuple):
    """Shape of the batches of a bucket: audio `[rows, samples]`, labels `[rows, labels]`."""

    rows: int
    samples: int
    labels: int


class PlannedBatch(NamedTuple):
    """One batch of a plan: bucket index, records `[rows]` int32 (-1 for an empty row), speeds `[rows]` float64."""

    bucket: int
    records: np.ndarray
    speeds: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class BatchPlan:
    """An endless, shuffled sequence of batches; see `make_plan`.

    Attributes:
      shapes: shape of each bucket, shortest first.
      seed: of the order of examples and batches.
      crop_samples: longer audio is cropped at random to this; None if nothing is cropped.
      dropped: number of examples left out because they are longer than the maximum.
      records: record of each example, int32 `[examples]`.
      speeds: speed of each example, float64 `[examples]`.
      lengths: samples of each example after speed perturbation and cropping, int64 `[examples]`.
      buckets: bucket of each example, before any goes up, uint16 `[examples]`.
      batch_counts: batches of each bucket in an epoch.
    """

    shapes: tuple[Shape, ...]
    seed: int
    crop_samples: int | None
    dropped: int
    records: np.ndarray = dataclasses.field(repr=False)
    speeds: np.ndarray = dataclasses.field(repr=False)
    lengths: np.ndarray = dataclasses.field(repr=False)
    buckets: np.ndarray = dataclasses.field(repr=False)
    batch_counts: tuple[int, ...] = dataclasses.field(repr=False)
    _epoch: Callable[[int], tuple[np.ndarray, np.ndarray]] = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, '_epoch', functools.lru_cache(maxsize=2)(self._draw_epoch))

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return sum(self.batch_counts)

    @property
    def hours_per_epoch(self) -> float:
        """Hours of audio in an epoch, every speed counted, padding not."""
        return float(self.lengths.sum()) / SAMPLE_RATE / 3600

    def padding_efficiency(self) -> float:
        """Valid samples over padded samples of an epoch; what fills up the last batch counts as padding."""
        batches = zip(self.batch_counts, self.shapes, strict=True)
        return float(self.lengths.sum()) / sum(count * shape.rows * shape.samples for count, shape in batches)

    def batch(self, step: int) -> PlannedBatch:
        """The batch of `step`, which may be any number from 0 on."""
        epoch, index = divmod(step, self.steps_per_epoch)
        examples, batches = self._epoch(epoch)
        bucket, start = self._places[batches[index]]
        chosen = examples[start : start + self.shapes[bucket].rows]
        return PlannedBatch(int(bucket), self.records[chosen], self.speeds[chosen])

    @functools.cached_property
    def _places(self) -> np.ndarray:
        """Bucket and first example of each batch `[steps_per_epoch, 2]`, before the batches are shuffled."""
        buckets = np.repeat(np.arange(len(self.shapes)), self.batch_counts)
        rows = np.array([shape.rows for shape in self.shapes])[buckets]
        return np.stack([buckets, np.cumsum(rows) - rows], axis=1)

    def _draw_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The examples in order, bucket after bucket, and the order of the batches that they are cut into."""
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, epoch])))
        order = random.permutation(len(self.records)).astype(np.int32)
        examples = order[np.argsort(self.buckets[order], kind='stable')]
        batches = zip(self.batch_counts, self.shapes, strict=True)
        missing = sum(count * shape.rows for count, shape in batches) - len(order)
        return np.concatenate([examples, np.resize(order, missing)]), random.permutation(self.steps_per_epoch)


def make_plan(
    samples: np.ndarray,
    characters: np.ndarray | None,
    *,
    batch_seconds: float,
    buckets: int,
    max_seconds: float,
    crop: bool = False,
    speeds: Sequence[float] = (1.0,),
    seed: int = 0,
    row_multiple: int = 1,
) -> BatchPlan:
    """Plans the batches of a training stream.

    Args:
      samples: length of each record `[records]`, at 16 kHz.
      characters: length of each transcript `[records]`; None for an untranscribed stream.
      batch_seconds: audio in a batch, padding included, in seconds.
      buckets: largest number of different shapes.
      max_seconds: longer examples are dropped, or cropped to this if `crop`.
      crop: crop instead of dropping.
      speeds: factors of speed; a record becomes one example at each.
      seed: of the order.
      row_multiple: the rows of a batch are a multiple of this (the devices they are spread over).

    Returns:
      The plan. Its label bounds allow for one label more than characters, as SentencePiece may begin with a space.

    Raises:
      UserError: no example is left, or a batch of the longest examples has less than `row_multiple` rows.
      ValueError: an argument is out of range or has the wrong shape.
    """
    samples, characters = _checked(samples, characters, batch_seconds, buckets, row_multiple)
    if not (len(speeds) and min(speeds) > 0):
        raise ValueError(f'speeds must be positive, not {speeds}')
    batch_field, max_field = ('unlabelled_batch_seconds', 'crop_seconds') if crop else ('batch_seconds', 'max_seconds')
    max_samples = int(max_seconds * SAMPLE_RATE)
    records = np.tile(np.arange(len(samples), dtype=np.int32), len(speeds))
    factors = np.repeat(np.asarray(speeds, np.float64), len(samples))
    lengths = np.rint(samples[records] / factors).astype(np.int64)
    kept = np.full(len(lengths), True) if crop else lengths <= max_samples
    if not kept.any():
        raise UserError(
            f'No speech is left to train on: none of {len(samples)} records is within '
            f'config.data.{max_field}={max_seconds}.'
        )
    records, factors, lengths = records[kept], factors[kept], np.minimum(lengths[kept], max_samples)

    bounds = bucket_bounds(lengths, buckets)
    rows = (batch_seconds * SAMPLE_RATE / bounds).astype(np.int64) // row_multiple * row_multiple
    if not rows[-1]:
        raise UserError(
            f'config.data.{batch_field}={batch_seconds} is too small: a batch needs {row_multiple} rows, a multiple of '
            f'the devices in config.mesh, of up to {bounds[-1] / SAMPLE_RATE:.2f} s. Raise it to at least '
            f'{np.ceil(row_multiple * bounds[-1] / SAMPLE_RATE):.0f}, or lower config.data.{max_field}.'
        )
    bounds, rows, counts = _without_unused(bounds, rows, lengths)
    places = np.searchsorted(bounds, lengths)
    labels = _label_bounds(characters, records, places, len(bounds))
    return BatchPlan(
        shapes=tuple(Shape(*map(int, shape)) for shape in zip(rows, bounds, labels, strict=True)),
        seed=seed,
        crop_samples=max_samples if crop else None,
        dropped=int((~kept).sum()),
        records=records,
        speeds=factors,
        lengths=lengths,
        buckets=places.astype(np.uint16),
        batch_counts=tuple(counts),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class EvalPlan:
    """Every record exactly once, shortest first; see `make_eval_plan`. `len(plan)` is the number of batches.

    Attributes:
      shapes: shape of each bucket, shortest first.
      batches: bucket and records of each batch; -1 marks the empty rows that end a bucket.
    """

    shapes: tuple[Shape, ...]
    batches: tuple[PlannedBatch, ...] = dataclasses.field(repr=False)

    def __len__(self) -> int:
        return len(self.batches)

    def batch(self, step: int) -> PlannedBatch:
        """The batch of `step`."""
        return self.batches[step]


def make_eval_plan(
    samples: np.ndarray,
    characters: np.ndarray | None,
    *,
    batch_seconds: float,
    buckets: int = 4,
    row_multiple: int = 1,
) -> EvalPlan:
    """Plans the batches of an evaluation, which leaves nothing out: very long records still get `row_multiple` rows.

    The arguments and errors are those of `make_plan`.
    """
    samples, characters = _checked(samples, characters, batch_seconds, buckets, row_multiple)
    bounds = bucket_bounds(samples, buckets)
    places = np.searchsorted(bounds, samples)
    labels = _label_bounds(characters, np.arange(len(samples)), places, len(bounds))
    by_length = np.argsort(samples, kind='stable').astype(np.int32)
    shapes, batches = [], []
    for bucket, bound in enumerate(bounds):
        records = by_length[places[by_length] == bucket]
        multiples = min(int(batch_seconds * SAMPLE_RATE / bound) // row_multiple, -(-len(records) // row_multiple))
        rows = max(multiples, 1) * row_multiple
        shapes.append(Shape(rows, int(bound), int(labels[bucket])))
        padded = np.pad(records, (0, -len(records) % rows), constant_values=-1)
        batches += [PlannedBatch(bucket, chosen, np.ones(rows)) for chosen in padded.reshape(-1, rows)]
    return EvalPlan(tuple(shapes), tuple(batches))


def bucket_bounds(lengths: np.ndarray, buckets: int) -> np.ndarray:
    """The bounds that need the least padding, at most `buckets` of them, ascending `[bounds]`.

    Lengths are rounded up to `QUANTUM` samples; their histogram is then cut optimally by dynamic programming: the
    cheapest cut of quanta 1..j into k buckets is the best over i of the cheapest cut of 1..i into k - 1 buckets, plus
    the examples in i+1..j at j quanta each.
    """
    quanta = np.maximum(-(-np.asarray(lengths) // QUANTUM), 1)
    values, counts = np.unique(quanta, return_counts=True)
    examples = np.concatenate([[0], np.cumsum(counts)])
    best = np.concatenate([[0.0], np.full(len(values), np.inf)])
    cuts = []
    for _ in range(min(buckets, len(values))):
        costs = [best[: j + 1] + (examples[j + 1] - examples[: j + 1]) * value for j, value in enumerate(values)]
        cuts.append(np.array([cost.argmin() for cost in costs]))
        best = np.array([np.inf] + [cost.min() for cost in costs])
    bounds, end = [], len(values)
    for cut in reversed(cuts):
        bounds.append(values[end - 1])
        end = cut[end - 1]
    return np.array(bounds[::-1], np.int64) * QUANTUM


def _without_unused(
    bounds: np.ndarray, rows: np.ndarray, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Leaves out buckets with too few examples for a batch, whose examples all go up; returns the batch counts too."""
    waiting, counts = 0, []
    own_counts = np.bincount(np.searchsorted(bounds, lengths), minlength=len(bounds))
    for own, size in zip(own_counts, rows, strict=True):
        count, waiting = divmod(waiting + int(own), int(size))
        counts.append(count)
    counts[-1] += waiting > 0
    used = np.array(counts) > 0
    return bounds[used], rows[used], [count for count in counts if count]


def _label_bounds(characters: np.ndarray | None, records: np.ndarray, places: np.ndarray, buckets: int) -> np.ndarray:
    """One more than the most characters in each bucket or in a shorter one, whose examples may go up."""
    bounds = np.zeros(buckets, np.int64)
    if characters is not None:
        np.maximum.at(bounds, places, characters[records] + 1)
    return np.maximum.accumulate(bounds)


def _checked(
    samples: np.ndarray, characters: np.ndarray | None, batch_seconds: float, buckets: int, row_multiple: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """The lengths as int64 arrays, after checking all that both kinds of plan have in common."""
    samples = np.asarray(samples, np.int64)
    if samples.ndim != 1 or not samples.size or samples.min() < 0:
        raise ValueError(f'samples must be [records] non-negative lengths, at least one, not of shape {samples.shape}')
    if characters is not None:
        characters = np.asarray(characters, np.int64)
        if characters.shape != samples.shape:
            raise ValueError(f'characters has shape {characters.shape}, samples {samples.shape}')
    for name, value in (('batch_seconds', batch_seconds), ('buckets', buckets), ('row_multiple', row_multiple)):
        if not value > 0:
            raise ValueError(f'{name} must be positive, not {value}')
    return samples, characters
