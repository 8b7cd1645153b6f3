import collections
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bljust_jax.data.packing import pack
from bljust_jax.data.plan import QUANTUM, bucket_bounds, make_eval_plan, make_plan
from bljust_jax.errors import UserError

SPEEDS = (0.9, 1.0, 1.1)


def lognormal(records, spread=0.35, seconds=6.0, seed=0):
    lengths = np.random.default_rng(seed).lognormal(np.log(seconds), spread, records)
    return (np.clip(lengths, 0.3, 30) * 16000).astype(np.int32)


def plan_of(samples, characters=None, **changes):
    arguments = {'batch_seconds': 60, 'buckets': 4, 'max_seconds': 20, 'speeds': SPEEDS, 'seed': 0} | changes
    return make_plan(samples, characters, **arguments)


def epoch_of(plan, epoch=0):
    steps = plan.steps_per_epoch
    return [plan.batch(step) for step in range(epoch * steps, (epoch + 1) * steps)]


def row_of(records, speeds):
    return tuple(
        (record, speed) for record, speed in zip(records.tolist(), speeds.tolist(), strict=True) if record >= 0
    )


def rows_of(batches):
    return [row_of(*row) for batch in batches for row in zip(batch.records, batch.speeds, strict=True)]


def examples_of(batches):
    return collections.Counter(itertools.chain.from_iterable(rows_of(batches)))


def row_sums(batch, values):
    """Sums over the pieces of each row, of `values` `[rows, pieces]`."""
    return np.where(batch.records >= 0, values, 0).sum(axis=1)


@pytest.mark.parametrize('epoch', [0, 1, 5])
@pytest.mark.parametrize('records', [1, 3, 50, 700])
def test_an_epoch_passes_over_every_record_once_at_each_speed(records, epoch):
    plan = plan_of(lognormal(records))
    batches = epoch_of(plan, epoch)
    examples = examples_of(batches)
    assert set(examples) == set(itertools.product(range(records), SPEEDS))
    filled_up = examples.total() - 3 * records
    assert 0 <= filled_up < plan.shapes[-1].rows
    assert sum(count - 1 for count in examples.values()) == filled_up
    assert max(examples.values()) <= 2 + filled_up // (3 * records)


def test_batches_have_the_planned_shape_and_no_empty_rows():
    samples = lognormal(500)
    plan = plan_of(samples, samples // 1000)
    for batch in epoch_of(plan):
        shape = plan.shapes[batch.bucket]
        assert batch.records.shape == batch.speeds.shape == (shape.rows, 1)
        assert batch.records.dtype == np.int32
        assert (batch.records >= 0).all()
        assert (np.rint(samples[batch.records] / batch.speeds) <= shape.samples).all()
        assert (samples[batch.records] // 1000 < shape.labels).all()


def test_batch_is_a_pure_function_of_step():
    samples = lognormal(300)
    forwards = [plan_of(samples).batch(step) for step in range(200)]
    plan = plan_of(samples)
    for step in reversed(range(200)):
        batch = plan.batch(step)
        assert batch.bucket == forwards[step].bucket
        np.testing.assert_array_equal(batch.records, forwards[step].records)
        np.testing.assert_array_equal(batch.speeds, forwards[step].speeds)


def test_steps_far_away_cost_nothing():
    plan = plan_of(lognormal(300))
    assert plan.batch(10**12).records.size


def test_seed_and_epoch_change_the_order():
    samples = lognormal(300)
    orders = [
        [batch.records.tolist() for batch in epoch_of(plan_of(samples, seed=seed), epoch)]
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_buckets_are_shuffled_together():
    buckets = [batch.bucket for batch in epoch_of(plan_of(lognormal(2000)))]
    half = len(buckets) // 2
    for bucket in range(4):
        share = buckets[:half].count(bucket) / buckets.count(bucket)
        assert 0.3 < share < 0.7


def test_every_epoch_has_the_same_batches_of_each_bucket():
    plan = plan_of(lognormal(400))
    counts = [collections.Counter(batch.bucket for batch in epoch_of(plan, epoch)) for epoch in range(3)]
    assert counts[0] == counts[1] == counts[2]
    assert tuple(counts[0][bucket] for bucket in range(len(plan.shapes))) == plan.batch_counts


def test_few_buckets_pad_little():
    samples = lognormal(5000, spread=0.3)
    plan = plan_of(samples, max_seconds=12)
    assert len(plan.shapes) == 4
    assert plan.padding_efficiency() >= 0.85
    assert plan_of(samples, max_seconds=12, buckets=1).padding_efficiency() < 0.6


def test_padding_efficiency_and_hours_are_what_is_read():
    samples = lognormal(800)
    plan = plan_of(samples)
    padded = sum(plan.shapes[batch.bucket].rows * plan.shapes[batch.bucket].samples for batch in epoch_of(plan))
    valid = np.rint(samples[:, None] / np.array(SPEEDS)).sum()
    assert plan.dropped == 0
    assert plan.padding_efficiency() == pytest.approx(valid / padded)
    assert plan.hours_per_epoch == pytest.approx(valid / 16000 / 3600)


def test_batches_fill_the_seconds_asked_for():
    plan = plan_of(lognormal(5000), batch_seconds=200)
    for rows, samples, _ in plan.shapes:
        assert samples % QUANTUM == 0
        assert rows * samples <= 200 * 16000 < (rows + 1) * samples


def test_longer_records_are_dropped_and_counted_per_speed():
    samples = np.array([16000, 10 * 16000, 30 * 16000], np.int32)
    plan = plan_of(samples, max_seconds=10)
    assert plan.crop_samples is None
    assert plan.dropped == 4
    assert set(examples_of(epoch_of(plan))) == {(0, 0.9), (0, 1.0), (0, 1.1), (1, 1.0), (1, 1.1)}


def test_longer_records_are_cropped():
    samples = np.array([16000, 10 * 16000, 30 * 16000], np.int32)
    plan = plan_of(samples, max_seconds=8, crop=True)
    assert plan.dropped == 0
    assert plan.crop_samples == 8 * 16000
    assert plan.lengths.max() == plan.shapes[-1].samples == 8 * 16000
    assert len(examples_of(epoch_of(plan))) == 9


def test_one_bucket_of_crops_has_one_shape():
    plan = plan_of(lognormal(200), max_seconds=4, crop=True, buckets=1)
    assert plan.shapes == ((15, 4 * 16000, 0),)


def test_label_bound_covers_the_records_of_shorter_buckets_which_may_go_up():
    samples = np.array([16000] * 31 + [160000] * 7)
    characters = np.array([90] * 31 + [50] * 7)
    plan = plan_of(samples, characters, buckets=2, speeds=(1.0,))
    assert [shape.labels for shape in plan.shapes] == [91]
    plan = plan_of(np.repeat(samples, 3), np.repeat(characters, 3), buckets=2, speeds=(1.0,))
    assert [shape.labels for shape in plan.shapes] == [91, 91]


def test_bucket_with_too_few_examples_has_no_shape():
    plan = plan_of(np.array([16000] * 3 + [160000] * 60), buckets=2, speeds=(1.0,))
    assert [shape.samples for shape in plan.shapes] == [160000]


@pytest.mark.parametrize('buckets', [1, 2, 3, 5])
def test_bounds_are_optimal(buckets):
    lengths = np.random.default_rng(buckets).integers(1, 12 * QUANTUM, 40)
    quanta = -(-lengths // QUANTUM)

    def padded(bounds):
        return np.array(bounds)[np.searchsorted(bounds, quanta)].sum()

    largest = quanta.max()
    best = min(padded([*inner, largest]) for inner in itertools.combinations(range(1, largest), buckets - 1))
    bounds = bucket_bounds(lengths, buckets)
    assert len(bounds) == buckets
    assert padded(bounds // QUANTUM) == best


@settings(max_examples=60)
@given(
    samples=st.lists(st.integers(0, 25 * 16000), min_size=1, max_size=80),
    buckets=st.integers(1, 6),
    crop=st.booleans(),
    pack_seconds=st.sampled_from([0, 0.05, 3, 7.99, 20, 50]),
    seed=st.integers(0, 2**31),
)
def test_any_lengths(samples, buckets, crop, pack_seconds, seed):
    samples = np.array([1000, *samples], np.int32)
    changes = {'buckets': buckets, 'crop': crop, 'pack_seconds': pack_seconds, 'seed': seed}
    plan = plan_of(samples, samples // 999, batch_seconds=66, **changes)
    assert 1 <= len(plan.shapes) <= buckets
    assert list(plan.shapes) == sorted(plan.shapes, key=lambda shape: shape.samples)
    assert 0 < plan.padding_efficiency() <= 1
    planned = collections.Counter(zip(plan.records.tolist(), plan.speeds.tolist(), strict=True))
    assert len(planned) + plan.dropped == 3 * len(samples)
    for epoch in (0, 3):
        batches = epoch_of(plan, epoch)
        rows = collections.Counter(rows_of(batches))
        assert collections.Counter(itertools.chain.from_iterable(rows)) == planned
        assert 0 <= rows.total() - len(rows) < plan.shapes[-1].rows
        for batch in batches:
            shape = plan.shapes[batch.bucket]
            assert len(batch.records) == shape.rows
            assert (batch.records >= 0).any(axis=1).all()
            lengths = np.minimum(np.rint(samples[batch.records] / batch.speeds), 20 * 16000 if crop else np.inf)
            assert (row_sums(batch, lengths) <= shape.samples).all()
            joined = row_sums(batch, samples[batch.records] // 999 + 1) - 1
            assert (joined < shape.labels).all()
            packed = (batch.records >= 0).sum(axis=1) > 1
            assert (row_sums(batch, lengths)[packed] <= min(pack_seconds, 20) * 16000).all()


def short(records=3000):
    """Lengths like those of voice prompts: a median of 1.5 s with a long tail."""
    return np.minimum(lognormal(records, spread=0.8, seconds=1.5), 20 * 16000)


@pytest.mark.parametrize('epoch', [0, 1, 5])
@pytest.mark.parametrize('records', [1, 3, 50, 700])
def test_a_packed_epoch_passes_over_every_record_once_at_each_speed(records, epoch):
    plan = plan_of(short(records), pack_seconds=8, max_seconds=24)
    rows = collections.Counter(rows_of(epoch_of(plan, epoch)))
    examples = collections.Counter(itertools.chain.from_iterable(rows))
    assert examples == dict.fromkeys(itertools.product(range(records), SPEEDS), 1)
    assert 0 <= rows.total() - len(rows) < plan.shapes[-1].rows


def test_packing_pads_little_with_few_shapes():
    samples = short()
    plan = plan_of(samples, pack_seconds=8, buckets=2)
    assert len(plan.shapes) == 2
    assert plan.padding_efficiency() >= 0.87
    assert plan_of(samples, pack_seconds=8, max_seconds=8, crop=True, buckets=1).padding_efficiency() >= 0.95
    assert plan_of(samples, buckets=2).padding_efficiency() < 0.5


def test_packed_efficiency_and_hours_are_what_is_read():
    samples = short(500)
    plan = plan_of(samples, pack_seconds=8)
    batches = epoch_of(plan)
    padded = sum(plan.shapes[batch.bucket].rows * plan.shapes[batch.bucket].samples for batch in batches)
    valid = sum(round(samples[record] / speed) for record, speed in examples_of(batches))
    assert plan.padding_efficiency() == pytest.approx(valid / padded)
    assert plan.hours_per_epoch == pytest.approx(valid / 16000 / 3600)


def test_rows_have_other_pieces_in_every_epoch():
    plan = plan_of(short(), pack_seconds=8)
    rows = [{frozenset(row) for row in rows_of(epoch_of(plan, epoch)) if len(row) > 1} for epoch in range(3)]
    assert min(map(len, rows)) > 1000
    assert len(rows[0] & rows[1]) + len(rows[1] & rows[2]) < 0.05 * len(rows[0])


def test_packed_batch_is_a_pure_function_of_step():
    forwards = [plan_of(short(), pack_seconds=8).batch(step) for step in range(20)]
    plan = plan_of(short(), pack_seconds=8)
    for step in reversed(range(20)):
        for ours, theirs in zip(plan.batch(step), forwards[step], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert rows_of(forwards) != rows_of(plan_of(short(), pack_seconds=8, seed=1).batch(step) for step in range(20))


def test_examples_longer_than_packed_rows_stay_alone():
    samples = np.array([15 * 16000] * 4 + [16000] * 28)
    plan = plan_of(samples, pack_seconds=8, buckets=2, speeds=(1.0,), batch_seconds=16)
    assert [shape.samples for shape in plan.shapes] == [7 * 13 * QUANTUM, 188 * QUANTUM]
    assert sorted(map(len, set(rows_of(epoch_of(plan))))) == [1] * 4 + [7] * 4


def test_label_bound_of_packed_rows_has_room_for_the_spaces():
    plan = plan_of(np.full(40, 10 * QUANTUM), np.full(40, 7), pack_seconds=4, speeds=(1.0,))
    assert plan.shapes == ((15, 50 * QUANTUM, 5 * 7 + 4 + 1),)


def test_pack_is_best_fit_and_mixes_sizes():
    sizes = np.random.default_rng(0).integers(1, 130, 5000)
    rows = pack(sizes, 100, np.random.default_rng(1))
    assert sorted(rows[rows >= 0]) == list(range(5000))
    sums = np.where(rows >= 0, sizes[rows], 0).sum(axis=1)
    single = (rows >= 0).sum(axis=1) == 1
    assert sums[~single].max() == 100 and sorted(sizes[rows[sums > 100, 0]]) == sorted(sizes[sizes > 100])
    assert sums.sum() / np.maximum(sums, 100).sum() > 0.95
    firsts, seconds = sizes[rows[~single, :2]].T
    assert abs(firsts.mean() - seconds.mean()) < 3


def test_too_small_batches_name_the_field_and_the_remedy():
    samples = np.full(10, 19 * 16000)
    with pytest.raises(
        UserError, match=r'config\.data\.batch_seconds=19 is .* longest row, .* 19\.04 s: .*at least 20'
    ):
        plan_of(samples, speeds=(1.0,), batch_seconds=19)
    with pytest.raises(
        UserError, match=r'config\.data\.unlabelled_batch_seconds=15 .*lower config\.data\.crop_seconds'
    ):
        plan_of(samples, crop=True, batch_seconds=15)
    assert plan_of(samples, speeds=(1.0,), batch_seconds=20).shapes[0].rows == 1


def test_nothing_left_names_the_field():
    with pytest.raises(UserError, match=r'none of 3 records is within config\.data\.max_seconds=0\.5'):
        plan_of(np.full(3, 16000), max_seconds=0.5)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'samples': np.zeros(0)}, r'shape \(0,\)'),
        ({'samples': np.zeros((2, 2))}, r'shape \(2, 2\)'),
        ({'samples': np.array([-1, 5])}, 'non-negative'),
        ({'characters': np.ones(3)}, r'characters has shape \(3,\), samples \(2,\)'),
        ({'buckets': 0}, 'buckets must be positive, not 0'),
        ({'batch_seconds': -1}, 'batch_seconds must be positive, not -1'),
        ({'speeds': (1.0, 0.0)}, 'speeds must be positive'),
        ({'speeds': ()}, 'speeds must be positive'),
        ({'pack_seconds': -1}, 'pack_seconds must not be negative, but is -1'),
    ],
)
def test_wrong_arguments(changes, message):
    arguments = {'samples': np.array([16000, 32000])} | changes
    with pytest.raises(ValueError, match=message):
        plan_of(**arguments)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 30 * 16000), min_size=1, max_size=80), st.integers(1, 6), st.sampled_from([1, 2, 8]))
def test_evaluation_covers_every_record_once_in_order_of_length(samples, buckets, multiple):
    samples = np.array(samples)
    plan = make_eval_plan(samples, samples // 999, batch_seconds=60, buckets=buckets, row_multiple=multiple)
    batches = [plan.batch(step) for step in range(len(plan))]
    records = np.concatenate([batch.records for batch in batches])
    assert sorted(records[records >= 0]) == list(range(len(samples)))
    assert (np.diff(samples[records[records >= 0]]) >= 0).all()
    assert len(plan.shapes) <= buckets
    for batch in batches:
        shape = plan.shapes[batch.bucket]
        there = batch.records[batch.records >= 0]
        assert (
            len(there) and batch.records.shape == batch.speeds.shape == (shape.rows, 1) and shape.rows % multiple == 0
        )
        assert (samples[there] <= shape.samples).all() and (samples[there] // 999 < shape.labels).all()
        assert (batch.speeds == 1).all()


def test_evaluation_keeps_records_that_are_longer_than_a_batch():
    plan = make_eval_plan(np.array([300 * 16000]), None, batch_seconds=60, row_multiple=2)
    assert plan.shapes == ((2, 300 * 16000, 0),)
    assert plan.batch(0).records.tolist() == [[0], [-1]]


def test_evaluation_needs_a_positive_row_multiple():
    with pytest.raises(ValueError, match='row_multiple must be positive, not 0'):
        make_eval_plan(np.full(3, 16000), None, batch_seconds=60, row_multiple=0)


def test_evaluation_spreads_records_evenly_over_batches():
    plan = make_eval_plan(np.full(7, 16000), None, batch_seconds=6, buckets=1)
    assert [(batch.records >= 0).sum() for batch in plan.batches] == [4, 3]
    assert plan.shapes[0].rows == 4


def test_evaluation_of_few_records_has_few_rows():
    assert make_eval_plan(np.full(3, 16000), None, batch_seconds=600, row_multiple=2).shapes[0].rows == 4
