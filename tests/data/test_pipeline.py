import functools
import itertools
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from bljust_jax.config import AugmentConfig
from bljust_jax.data.augment import change_speed, make_augmenter
from bljust_jax.data.pipeline import eval_batches, measure_rate, stream, to_device
from bljust_jax.data.plan import make_eval_plan, make_plan
from bljust_jax.types import Batch


class Source:
    """Records whose audio and text tell which record they are of; reading takes a while that varies."""

    def __init__(self, samples, characters, delay=0.0):
        self.samples, self.characters, self.delay = samples, characters, delay

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        assert type(index) is int
        time.sleep(self.delay * (index % 5))
        audio = np.random.default_rng(index).integers(-9000, 9000, self.samples[index], dtype=np.int16)
        return {'audio': audio, 'text': chr(97 + index % 26) * self.characters[index]}


class Untranscribed(Source):
    """Raises when anybody touches a text."""

    class Record(dict):
        def __getitem__(self, name):
            assert name == 'audio'
            return super().__getitem__(name)

        def get(self, name, default=None):
            return self[name]

        def values(self):
            raise AssertionError('text was touched')

        items = values

    def __getitem__(self, index):
        return self.Record(super().__getitem__(index))


class Letters:
    vocab_size = 27

    def encode(self, text):
        return [ord(letter) - 96 for letter in text]


def make_split(records=60, kind=Source, **arguments):
    samples = np.random.default_rng(0).integers(1500, 9000, records).astype(np.int32)
    characters = (samples // 500).astype(np.int32)
    ids = np.array([f'utterance-{index}' for index in range(records)])
    return SimpleNamespace(
        source=kind(samples, characters, **arguments), samples=samples, characters=characters, ids=ids
    )


def plan_of(split, **changes):
    arguments = {
        'batch_seconds': 2,
        'buckets': 3,
        'max_seconds': 2,
        'speeds': (0.9, 1.0, 1.1),
        'seed': 4,
    }
    return make_plan(split.samples, split.characters, **(arguments | changes))


def take(batches, count):
    return list(itertools.islice(batches, count))


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        for ours_field, theirs_field in zip(one, other, strict=True):
            assert ours_field.dtype == theirs_field.dtype
            np.testing.assert_array_equal(ours_field, theirs_field)


def test_content_equals_direct_reads():
    split = make_split()
    plan = plan_of(split)
    count = plan.steps_per_epoch + 3
    for step, batch in enumerate(take(stream(split, plan, Letters()), count)):
        bucket, records, speeds = plan.batch(step)
        rows, samples, labels = plan.shapes[bucket]
        assert batch.audio.shape == (rows, samples) and batch.audio.dtype == np.int16
        assert batch.labels.shape == (rows, labels) and batch.labels.dtype == np.int32
        assert batch.lengths.shape == batch.label_lengths.shape == (rows,)
        assert batch.lengths.dtype == batch.label_lengths.dtype == np.int32
        for row, (record, speed) in enumerate(zip(records[:, 0].tolist(), speeds[:, 0], strict=True)):
            entry = split.source[record]
            audio = change_speed(entry['audio'], speed)
            assert batch.lengths[row] == len(audio) == round(split.samples[record] / speed)
            np.testing.assert_array_equal(batch.audio[row, : len(audio)], audio)
            assert not batch.audio[row, len(audio) :].any()
            text = Letters().encode(entry['text'])
            assert batch.label_lengths[row] == len(text)
            np.testing.assert_array_equal(batch.labels[row], text + [0] * (labels - len(text)))


def pieces_of(records, speeds):
    return [(record, speed) for record, speed in zip(records.tolist(), speeds, strict=True) if record >= 0]


def test_packed_rows_are_the_concatenation_of_direct_reads():
    split = make_split()
    plan = plan_of(split, pack_seconds=1)
    pieces = 0
    for step, batch in enumerate(take(stream(split, plan, Letters()), plan.steps_per_epoch + 3)):
        bucket, records, speeds = plan.batch(step)
        rows, samples, labels = plan.shapes[bucket]
        assert batch.audio.shape == (rows, samples) and batch.labels.shape == (rows, labels)
        for row in range(rows):
            there = pieces_of(records[row], speeds[row])
            pieces = max(pieces, len(there))
            parts = [change_speed(split.source[record]['audio'], speed) for record, speed in there]
            audio = np.concatenate(parts)
            assert batch.lengths[row] == len(audio)
            np.testing.assert_array_equal(batch.audio[row], np.pad(audio, (0, samples - len(audio))))
            ends = np.cumsum([len(part) for part in parts])
            np.testing.assert_array_equal(batch.ends[row], np.pad(ends, (0, records.shape[1] - len(ends))))
            text = Letters().encode(' '.join(split.source[record]['text'] for record, _ in there))
            assert batch.label_lengths[row] == len(text)
            np.testing.assert_array_equal(batch.labels[row], text + [0] * (labels - len(text)))
    assert pieces >= 4


def test_packed_rows_and_crops_have_the_planned_length():
    split = make_split()
    plan = plan_of(split, max_seconds=0.4, pack_seconds=0.4, crop=True)
    pieces, crops = 0, 0
    for step, batch in enumerate(take(stream(split, plan, None), plan.steps_per_epoch)):
        _, records, speeds = plan.batch(step)
        lengths = np.minimum(np.rint(split.samples[records] / speeds), 6400)
        np.testing.assert_array_equal(batch.lengths, np.where(records >= 0, lengths, 0).sum(axis=1))
        pieces = max(pieces, (records >= 0).sum(axis=1).max())
        crops += (lengths == 6400).sum()
    assert pieces > 1 and crops


@pytest.mark.parametrize('start', [1, 17])
def test_a_stream_resumes_where_it_stopped(start):
    split = make_split()
    plan = plan_of(split)
    assert plan.steps_per_epoch < 60
    whole = take(stream(split, plan, Letters()), 60)
    assert_same(take(stream(split, plan_of(split), Letters(), start=start), 60 - start), whole[start:])


@pytest.mark.parametrize('start', [1, 17])
def test_a_packed_stream_resumes_where_it_stopped(start):
    split = make_split()
    changes = {'max_seconds': 0.4, 'pack_seconds': 0.4, 'crop': True}
    whole = take(stream(split, plan_of(split, **changes), Letters()), 40)
    assert_same(take(stream(split, plan_of(split, **changes), Letters(), start=start), 40 - start), whole[start:])


@pytest.mark.parametrize('pack_seconds', [0, 0.4])
@pytest.mark.parametrize('crop', [False, True])
def test_threads_change_nothing(crop, pack_seconds):
    split = make_split(delay=2e-4)
    plan = plan_of(split, max_seconds=0.4 if crop else 2, crop=crop, pack_seconds=pack_seconds)
    alone = take(stream(split, plan, Letters(), workers=1, prefetch=1), 30)
    assert_same(take(stream(split, plan, Letters(), workers=5, prefetch=7), 30), alone)


def test_crops_are_random_parts_of_the_right_length():
    split = make_split()
    plan = plan_of(split, max_seconds=0.2, crop=True, speeds=(1.0,))
    starts = set()
    for step, batch in enumerate(take(stream(split, plan, None), 40)):
        for row, record in enumerate(plan.batch(step).records[:, 0].tolist()):
            audio = split.source[record]['audio']
            assert batch.lengths[row] == min(len(audio), 3200)
            crop = batch.audio[row, : batch.lengths[row]]
            fits = [start for start in range(len(audio) - len(crop) + 1) if audio[start] == crop[0]]
            start = next(start for start in fits if (audio[start : start + len(crop)] == crop).all())
            starts.add((start + 0.5) / (len(audio) - len(crop) + 1))
    assert min(starts) < 0.1 and max(starts) > 0.9 and 0.4 < np.mean(list(starts)) < 0.6


def test_crops_at_any_speed_have_the_planned_length():
    split = make_split()
    plan = plan_of(split, max_seconds=0.2, crop=True, speeds=(0.87, 1.13))
    for step, batch in enumerate(take(stream(split, plan, None), plan.steps_per_epoch)):
        _, records, speeds = plan.batch(step)
        expected = np.minimum(np.rint(split.samples[records] / speeds), 3200)[:, 0]
        np.testing.assert_array_equal(batch.lengths, expected)


def test_crops_of_a_record_differ_from_epoch_to_epoch():
    split = make_split(records=1)
    plan = plan_of(split, max_seconds=0.16, crop=True, speeds=(1.0,))
    crops = {batch.audio.tobytes() for batch in take(stream(split, plan, None), 10)}
    assert len(crops) > 5


@pytest.mark.parametrize('pack_seconds', [0, 0.3])
def test_text_is_not_touched_without_a_tokenizer(pack_seconds):
    split = make_split(kind=Untranscribed)
    plan = make_plan(
        split.samples, None, batch_seconds=2, buckets=2, max_seconds=0.3, crop=True, pack_seconds=pack_seconds
    )
    for batch in take(stream(split, plan, None), 10):
        assert batch.labels.shape == (len(batch.audio), 0)
        assert not batch.label_lengths.any()
    with pytest.raises(AssertionError):
        next(stream(split, plan_of(split), Letters()))


@pytest.mark.parametrize('pack_seconds', [0, 0.5])
def test_hosts_share_the_rows(pack_seconds):
    split = make_split()
    plan = plan_of(split, max_seconds=0.5, crop=True, pack_seconds=pack_seconds)
    whole = take(stream(split, plan, Letters(), row_multiple=4), 20)
    parts = [take(stream(split, plan, Letters(), row_multiple=4, host=host, hosts=2), 20) for host in range(2)]
    joined = [
        tuple(np.concatenate(fields) for fields in zip(first, second, strict=True))
        for first, second in zip(*parts, strict=True)
    ]
    assert_same(joined, whole)
    with pytest.raises(ValueError, match='cannot be shared by 7 hosts'):
        stream(split, plan, Letters(), row_multiple=4, hosts=7)


@pytest.mark.parametrize('devices', [1, 2, 4, 8])
@pytest.mark.parametrize('crop', [False, True])
def test_devices_only_add_empty_rows(crop, devices):
    split = make_split()
    plan = plan_of(split, max_seconds=0.5 if crop else 2, crop=crop, pack_seconds=0.5)
    assert any(shape.rows % 2 for shape in plan.shapes)
    expected = take(stream(split, plan, Letters()), 20)
    batches = take(stream(split, plan, Letters(), row_multiple=devices), 20)
    for one, batch in zip(expected, batches, strict=True):
        rows = len(one.audio)
        assert (one.lengths > 0).all()
        assert_same([[field[:rows] for field in batch]], [one])
        assert len(batch.audio) % devices == 0 and len(batch.audio) - rows < devices
        assert not any(field[rows:].any() for field in batch)


def test_a_stream_goes_on_with_the_same_records_on_other_devices():
    split = make_split()
    changes = {'max_seconds': 0.5, 'pack_seconds': 0.5, 'crop': True}
    whole = take(stream(split, plan_of(split, **changes), Letters(), row_multiple=2), 20)
    resumed = take(stream(split, plan_of(split, **changes), Letters(), start=7, row_multiple=8), 13)

    def filled(batches):
        return [[field[batch.lengths > 0] for field in batch] for batch in batches]

    assert_same(filled(resumed), filled(whole[7:]))


def test_labels_beyond_the_bound_name_the_record():
    class Doubling(Letters):
        def encode(self, text):
            return super().encode(text) * 2

    split = make_split()
    with pytest.raises(ValueError, match=r"row of 'utterance-\d+' has \d+ labels, but its bucket was planned for \d+"):
        take(stream(split, plan_of(split), Doubling()), 100)
    with pytest.raises(ValueError, match=r"row of 'utterance-\d+', 'utterance-\d+'.* has \d+ labels"):
        take(stream(split, plan_of(split, pack_seconds=1, max_seconds=1), Doubling()), 100)


@pytest.mark.parametrize('pack_seconds', [0, 1])
def test_one_label_more_than_characters_fits(pack_seconds):
    class Prefixing(Letters):
        def encode(self, text):
            return [1, *super().encode(text)]

    split = make_split()
    plan = plan_of(split, pack_seconds=pack_seconds)
    batches = take(stream(split, plan, Prefixing()), plan.steps_per_epoch)
    assert all((batch.labels[:, 0] == 1).all() for batch in batches)


def test_audio_longer_than_planned_names_the_record():
    split = make_split()
    plan = plan_of(split)
    split.source.samples = split.samples * 3
    with pytest.raises(ValueError, match=r"row of 'utterance-\d+' has \d+ samples"):
        take(stream(split, plan, None), 10)


def test_a_plan_without_room_for_labels():
    split = make_split()
    plan = make_plan(split.samples, None, batch_seconds=2, buckets=2, max_seconds=2)
    with pytest.raises(ValueError, match='made without characters'):
        stream(split, plan, Letters())


@pytest.mark.parametrize('records', [1, 60])
def test_evaluation_reads_every_record_once(records):
    split = make_split(records)
    plan = make_eval_plan(split.samples, split.characters, batch_seconds=2, buckets=3, row_multiple=2)
    seen = []
    for numbers, batch in eval_batches(split, plan, Letters()):
        assert batch.audio.shape[0] == len(numbers)
        for row, record in enumerate(numbers.tolist()):
            length = batch.lengths[row]
            if record < 0:
                assert not batch.audio[row].any() and length == batch.label_lengths[row] == 0
                continue
            seen.append(record)
            np.testing.assert_array_equal(batch.audio[row, :length], split.source[record]['audio'])
            assert batch.label_lengths[row] == split.characters[record]
    assert sorted(seen) == list(range(records))


def test_evaluation_without_text():
    split = make_split(kind=Untranscribed)
    plan = make_eval_plan(split.samples, None, batch_seconds=2)
    assert all(batch.labels.shape[1] == 0 for _, batch in eval_batches(split, plan, None))


@pytest.mark.parametrize('depth', [1, 2, 5])
@pytest.mark.parametrize('count', [0, 1, 3, 10])
def test_to_device_runs_ahead_and_keeps_the_order(depth, count):
    put = []

    def double(batch):
        put.append(batch)
        return 2 * batch

    moved = to_device(range(count), double, depth)
    assert not put
    for index in range(count):
        assert next(moved) == 2 * index
        assert put == list(range(min(index + depth, count)))
    assert next(moved, None) is None


def test_to_device_never_draws_more_than_depth():
    drawn = []
    endless = (drawn.append(index) or index for index in itertools.count())
    assert take(to_device(endless, lambda batch: batch, depth=2), 3) == [0, 1, 2]
    assert len(drawn) <= 5


def test_measure_rate():
    split = make_split()
    plan = plan_of(split)
    batches = take(stream(split, plan, None), 5)

    def slowly():
        for batch in batches:
            time.sleep(0.02)
            yield batch

    seconds = sum(batch.lengths.sum() for batch in batches) / 16000
    assert 0.3 * seconds / 0.1 < measure_rate(slowly(), 5) <= seconds / 0.1


def test_threads_end_with_an_abandoned_stream():
    before = threading.active_count()
    batches = stream(make_split(), plan_of(make_split()), None, workers=3)
    next(batches)
    del batches
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


@pytest.mark.parametrize('changes', [{}, {'pack_seconds': 1.0}, {'crop': True, 'max_seconds': 0.3}])
def test_augmentation_is_the_same_when_resumed_with_other_threads_and_hosts(changes):
    split = make_split()
    augment = make_augmenter(AugmentConfig(gain_db=(-9.0, 3.0)), seed=4, stream='sup')
    read = functools.partial(stream, split, plan_of(split, **changes), Letters(), augment=augment)
    whole = take(read(row_multiple=2), 20)
    assert_same(take(read(start=7, workers=5, prefetch=7, row_multiple=2), 13), whole[7:])
    parts = [take(read(row_multiple=2, host=host, hosts=2), 20) for host in range(2)]
    assert_same([Batch(*map(np.concatenate, zip(*pair, strict=True))) for pair in zip(*parts, strict=True)], whole)
    plain = take(stream(split, plan_of(split, **changes), Letters(), row_multiple=2), 20)
    for batch, other in zip(whole, plain, strict=True):
        assert (batch.audio != other.audio).any()
        assert_same([batch[1:]], [other[1:]])


def test_augmentation_knows_step_row_and_piece():
    split, seen = make_split(), set()
    plan = plan_of(split, pack_seconds=1)

    def augment(audio, place):
        seen.add(place)
        return audio

    plain = take(stream(split, plan, Letters()), 4)
    assert_same(take(stream(split, plan, Letters(), augment=augment, prefetch=1, workers=1), 4), plain)
    for step in range(4):
        rows, pieces = np.nonzero(plan.batch(step).records >= 0)
        assert {(step, row, piece) for row, piece in zip(rows.tolist(), pieces.tolist(), strict=True)} <= seen
