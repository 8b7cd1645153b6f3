"""The batch plan: which records make up batch number i, decided by lengths alone, before any audio is read.

Step i -> (bucket, records, speeds) is a pure function of the seed and of the lengths, global over hosts and the same
for any number of devices. So all hosts see the same shapes at the same step, and a run resumes by starting at the
number of batches it has drawn, on whatever devices it then has.

An epoch passes once over every example, a record at one of the speeds. Short examples are packed: several share a row,
end to end, because speech of very different lengths would need either much padding or many buckets, and every bucket's
shape has to be compiled. Every bucket holds the rows between its bound and the next smaller one. Rows that do not fill
a batch of their bucket go up into the next larger one; the last batch of the largest is filled with further rows.

All epochs have the same number of batches, of the same shapes, as packing is decided once, and for sizes instead of
examples: a row has a slot for each piece, a slot takes an example of one size, in whole quanta, and an epoch draws
which of them. So rows have other pieces in every epoch, and only the order is random.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from bljust_jax.config import SAMPLE_RATE
from bljust_jax.data.packing import pack
from bljust_jax.errors import UserError

# Sizes of slots and bounds of buckets are multiples of this: 0.08 s, or eight frames of 10 ms.
QUANTUM = 1280


class Shape(NamedTuple):
    """Shape of the batches of a bucket: audio `[rows, samples]`, labels `[rows, labels]`."""

    rows: int
    samples: int
    labels: int


class PlannedBatch(NamedTuple):
    """One batch of a plan: bucket index, records `[rows, pieces]` int32 (-1 for no piece), their speeds as float64."""

    bucket: int
    records: np.ndarray
    speeds: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class BatchPlan:
    """An endless, shuffled sequence of batches; see `make_plan`.

    Attributes:
      shapes: shape of each bucket, shortest first.
      seed: of the order of examples and batches.
      crop_samples: longer examples are cropped at random to this; None if nothing is cropped.
      dropped: number of examples left out because they are longer than the maximum.
      records: record of each example, int32 `[examples]`.
      speeds: speed of each example, float64 `[examples]`.
      lengths: samples of each example after speed perturbation and cropping, int64 `[examples]`.
      slots: the pieces of each row, as places among the examples in order of size, int32 `[rows, pieces]`; -1 for none.
      buckets: bucket of each row, before any goes up, uint16 `[rows]`.
      batch_counts: batches of each bucket in an epoch.
    """

    shapes: tuple[Shape, ...]
    seed: int
    crop_samples: int | None
    dropped: int
    records: np.ndarray = dataclasses.field(repr=False)
    speeds: np.ndarray = dataclasses.field(repr=False)
    lengths: np.ndarray = dataclasses.field(repr=False)
    slots: np.ndarray = dataclasses.field(repr=False)
    buckets: np.ndarray = dataclasses.field(repr=False)
    batch_counts: tuple[int, ...] = dataclasses.field(repr=False)
    _epoch: Callable[[int], tuple[np.ndarray, np.ndarray, np.ndarray]] = dataclasses.field(init=False, repr=False)

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
        examples, rows, batches = self._epoch(epoch)
        bucket, start = self._places[batches[index]]
        slots = self.slots[rows[start : start + self.shapes[bucket].rows]]
        chosen = examples[slots]
        records = np.where(slots >= 0, self.records[chosen], np.int32(-1))
        return PlannedBatch(int(bucket), records, np.where(slots >= 0, self.speeds[chosen], 1.0))

    @functools.cached_property
    def _places(self) -> np.ndarray:
        """Bucket and first row of each batch `[steps_per_epoch, 2]`, before the batches are shuffled."""
        buckets = np.repeat(np.arange(len(self.shapes)), self.batch_counts)
        rows = np.array([shape.rows for shape in self.shapes])[buckets]
        return np.stack([buckets, np.cumsum(rows) - rows], axis=1)

    def _draw_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The examples in order of size, the rows bucket after bucket, and the order of the batches that these make."""
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, epoch])))
        examples = _shuffled(quanta_of(self.lengths), random)
        rows = _shuffled(self.buckets, random)
        batches = zip(self.batch_counts, self.shapes, strict=True)
        missing = sum(count * shape.rows for count, shape in batches) - len(rows)
        rows = np.concatenate([rows, np.resize(random.permutation(rows), missing)])
        return examples, rows, random.permutation(self.steps_per_epoch)


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
    pack_seconds: float = 0.0,
) -> BatchPlan:
    """Plans the batches of a training stream.

    Args:
      samples: length of each record `[records]`, at 16 kHz.
      characters: most labels of each transcript `[records]`, such as its characters; None for an untranscribed stream.
      batch_seconds: audio in a batch, padding included, in seconds.
      buckets: largest number of different shapes.
      max_seconds: longer examples are dropped, or cropped to this if `crop`.
      crop: crop instead of dropping.
      speeds: factors of speed; a record becomes one example at each.
      seed: of the order.
      pack_seconds: examples of at most this are packed into rows of at most this, but not of more than `max_seconds`;
        0 packs nothing.

    Returns:
      The plan. Its label bounds allow for one label more than characters, as SentencePiece may begin with a space, and
      for a space between the transcripts of a row.

    Raises:
      UserError: no example is left, or a batch has no room for the longest row.
      ValueError: an argument is out of range or has the wrong shape.
    """
    samples, characters = _checked(samples, characters, batch_seconds, buckets)
    if not (len(speeds) and min(speeds) > 0):
        raise ValueError(f'speeds must be positive, not {speeds}')
    if not pack_seconds >= 0:
        raise ValueError(f'pack_seconds must not be negative, but is {pack_seconds}')
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

    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    sizes = np.sort(quanta_of(lengths))
    slots = pack(sizes, int(min(pack_seconds, max_seconds) * SAMPLE_RATE) // QUANTUM, random)
    row_lengths = _row_sums(sizes, slots) * QUANTUM
    bounds = bucket_bounds(row_lengths, buckets)
    rows = (batch_seconds * SAMPLE_RATE / bounds).astype(np.int64)
    if not rows[-1]:
        raise UserError(
            f'config.data.{batch_field}={batch_seconds} is smaller than the longest row, which has '
            f'{bounds[-1] / SAMPLE_RATE:.2f} s: raise it to at least {np.ceil(bounds[-1] / SAMPLE_RATE):.0f}, or lower '
            f'config.data.{max_field}.'
        )
    bounds, rows, counts = _without_unused(bounds, rows, row_lengths)
    places = np.searchsorted(bounds, row_lengths)
    labels = np.zeros_like(bounds)
    if characters is not None:
        most = np.zeros(sizes[-1] + 1, np.int64)
        np.maximum.at(most, quanta_of(lengths), characters[records] + 1)
        labels = _label_bounds(_row_sums(most[sizes], slots), places, len(bounds))
    return BatchPlan(
        shapes=tuple(Shape(*map(int, shape)) for shape in zip(rows, bounds, labels, strict=True)),
        seed=seed,
        crop_samples=max_samples if crop else None,
        dropped=int((~kept).sum()),
        records=records,
        speeds=factors,
        lengths=lengths,
        slots=slots,
        buckets=places.astype(np.uint16),
        batch_counts=tuple(counts),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class EvalPlan:
    """Every record exactly once, shortest first; see `make_eval_plan`. `len(plan)` is the number of batches.

    Attributes:
      shapes: shape of each bucket, shortest first.
      batches: bucket and records `[rows, 1]` of each batch; -1 marks the empty rows that end a bucket.
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

    The rows of a batch are a multiple of `row_multiple`, the devices they are spread over. The other arguments and
    errors are those of `make_plan`.
    """
    samples, characters = _checked(samples, characters, batch_seconds, buckets)
    if row_multiple < 1:
        raise ValueError(f'row_multiple must be positive, not {row_multiple}')
    bounds = bucket_bounds(samples, buckets)
    places = np.searchsorted(bounds, samples)
    labels = np.zeros_like(bounds) if characters is None else _label_bounds(characters + 1, places, len(bounds))
    by_length = np.argsort(samples, kind='stable').astype(np.int32)
    shapes, batches = [], []
    for bucket, bound in enumerate(bounds):
        records = by_length[places[by_length] == bucket]
        most = max(int(batch_seconds * SAMPLE_RATE / bound) // row_multiple, 1) * row_multiple
        count = -(-len(records) // most)
        rows = -(-len(records) // (count * row_multiple)) * row_multiple  # as many in every batch, so few are padding
        shapes.append(Shape(rows, int(bound), int(labels[bucket])))
        padded = np.pad(records, (0, -len(records) % rows), constant_values=-1)
        batches += [PlannedBatch(bucket, chosen, np.ones((rows, 1))) for chosen in padded.reshape(-1, rows, 1)]
    return EvalPlan(tuple(shapes), tuple(batches))


def quanta_of(lengths: np.ndarray) -> np.ndarray:
    """Lengths in samples, rounded up to whole quanta, of which each has at least one."""
    return np.maximum(-(-np.asarray(lengths) // QUANTUM), 1)


def bucket_bounds(lengths: np.ndarray, buckets: int) -> np.ndarray:
    """The bounds that need the least padding, at most `buckets` of them, ascending `[bounds]`.

    Lengths are rounded up to `QUANTUM` samples; their histogram is then cut optimally by dynamic programming: the
    cheapest cut of quanta 1..j into k buckets is the best over i of the cheapest cut of 1..i into k - 1 buckets, plus
    the lengths in i+1..j at j quanta each.
    """
    values, counts = np.unique(quanta_of(lengths), return_counts=True)
    up_to = np.concatenate([[0], np.cumsum(counts)])
    best = np.concatenate([[0.0], np.full(len(values), np.inf)])
    cuts = []
    for _ in range(min(buckets, len(values))):
        costs = [best[: j + 1] + (up_to[j + 1] - up_to[: j + 1]) * value for j, value in enumerate(values)]
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
    """Leaves out buckets with too few rows for a batch, which all go up; returns the batch counts too."""
    waiting, counts = 0, []
    own_counts = np.bincount(np.searchsorted(bounds, lengths), minlength=len(bounds))
    for own, size in zip(own_counts, rows, strict=True):
        count, waiting = divmod(waiting + int(own), int(size))
        counts.append(count)
    counts[-1] += waiting > 0
    used = np.array(counts) > 0
    return bounds[used], rows[used], [count for count in counts if count]


def _label_bounds(row_labels: np.ndarray, places: np.ndarray, buckets: int) -> np.ndarray:
    """The most labels in a row of each bucket or of a shorter one, whose rows may go up."""
    bounds = np.zeros(buckets, np.int64)
    np.maximum.at(bounds, places, row_labels)
    return np.maximum.accumulate(bounds)


def _row_sums(values: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """The sum over the pieces of each row, of `values [examples]` in order of size."""
    return np.where(slots >= 0, values[slots], 0).sum(axis=1)


def _shuffled(keys: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Indices of `keys` that sort them, equal ones in random order."""
    order = random.permutation(len(keys)).astype(np.int32)
    return order[np.argsort(keys[order], kind='stable')]


def _checked(
    samples: np.ndarray, characters: np.ndarray | None, batch_seconds: float, buckets: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """The lengths as int64 arrays, after checking all that both kinds of plan have in common."""
    samples = np.asarray(samples, np.int64)
    if samples.ndim != 1 or not samples.size or samples.min() < 0:
        raise ValueError(f'samples must be [records] non-negative lengths, at least one, not of shape {samples.shape}')
    if characters is not None:
        characters = np.asarray(characters, np.int64)
        if characters.shape != samples.shape:
            raise ValueError(f'characters has shape {characters.shape}, samples {samples.shape}')
    for name, value in (('batch_seconds', batch_seconds), ('buckets', buckets)):
        if not value > 0:
            raise ValueError(f'{name} must be positive, not {value}')
    return samples, characters
