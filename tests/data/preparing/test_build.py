import errno
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from bljust_jax.data import dataset
from bljust_jax.data.preparing import audio as audio_module
from bljust_jax.data.preparing import examples as examples_module
from bljust_jax.data.preparing import plan as planning
from bljust_jax.data.preparing import vad, worker
from bljust_jax.data.preparing.build import build, partial_dir
from bljust_jax.data.preparing.finish import About
from bljust_jax.data.preparing.plan import Seen, plan
from bljust_jax.data.preparing.pool import write_shards
from bljust_jax.data.preparing.rejection import Reason, Rejection
from bljust_jax.data.preparing.rules import Rules
from bljust_jax.data.preparing.shards import part_path, read_part
from bljust_jax.data.utterance import AudioFile, Utterance
from bljust_jax.errors import UserError
from tests.data import fakes
from tests.data.preparing import hostile

ROOT = Path(__file__).parents[3]
RULES = Rules(min_seconds=0.3)


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(planning, 'SHARD_RECORDS', 4)


def make(folder: Path, records, *, rules: Rules = RULES, workers: int = 0, **options):
    folder.mkdir(exist_ok=True)
    return build(About('calls'), lambda: plan(records, rules), rules, folder, workers=workers, **options)


def shard_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / 'calls' / '1.0.0').iterdir())}


def test_corpus_is_read_by_training_and_by_tfds(tmp_path, small_shards):
    records = [*hostile.utterances(9), *hostile.utterances(3, split='test')]
    tallies = make(tmp_path, records)
    assert {split: sums.utterances for split, sums in tallies.items()} == {'dev': 9, 'test': 3}
    assert dataset.prepared_corpora(tmp_path) == ['calls']
    split = dataset.load_split(tmp_path, 'calls', 'dev')
    assert split.ids.tolist() == [f'u{i}' for i in range(9)]
    for index, record in enumerate(split.source):
        assert record['id'] == f'u{index}' and len(record['audio']) == split.samples[index]
        assert len(record['text']) == split.characters[index] == 5 and split.speakers[index] == 'ann'
    folder = tmp_path / 'calls' / '1.0.0'
    assert tfds.builder_from_directory(folder).info.splits['dev'].shard_lengths == [4, 4, 1]
    checksums = json.loads((folder / 'checksums.json').read_text())
    shards = folder.glob('*array_record*')
    assert checksums == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in shards}
    assert (folder / 'rejected.jsonl').read_text() == ''
    assert not partial_dir(tmp_path, 'calls').exists()


def test_processes_write_the_same_bytes(tmp_path, small_shards):
    records = hostile.utterances(11)
    make(tmp_path / 'a', records)
    make(tmp_path / 'b', records, workers=2)
    assert shard_bytes(tmp_path / 'a') == shard_bytes(tmp_path / 'b')


def test_bad_records_are_listed(tmp_path, small_shards):
    records = [*hostile.utterances(20, {3: b'junk', 8: AudioFile(tmp_path / 'none')}), *hostile.utterances(1)]
    records.append(Rejection('t.csv:9', 'dev', 't.csv', Reason.BAD_ROW, 'no such column'))
    tallies = make(tmp_path / 'a', records, max_rejected=0.5)
    expected = Counter({Reason.NOT_AUDIO: 1, Reason.MISSING: 1, Reason.DUPLICATE_ID: 1, Reason.BAD_ROW: 1})
    assert tallies['dev'].rejected == expected and tallies['dev'].utterances == 18 and tallies['dev'].records == 22
    rows = map(json.loads, (tmp_path / 'a/calls/1.0.0/rejected.jsonl').read_text().splitlines())
    assert [(row['id'], row['reason']) for row in rows] == [
        ('u3', 'not audio'), ('u8', 'missing file'), ('u0', 'duplicate id'), ('t.csv:9', 'bad row')
    ]  # fmt: skip
    assert make(tmp_path / 'a', records, max_rejected=0.5) == tallies  # it is there


def test_too_much_rejected_stops_and_keeps_what_is_done(tmp_path, small_shards, monkeypatch):
    records = hostile.utterances(10, {1: b'junk', 2: b'junk', 5: AudioFile(tmp_path / 'none')})
    with pytest.raises(UserError, match=r'3 of 10 records of calls \(30.0%\) .* "not audio" \(2\), such as u1'):
        make(tmp_path / 'a', records)
    assert dataset.prepared_corpora(tmp_path / 'a') == []
    assert len((partial_dir(tmp_path / 'a', 'calls') / 'rejected.jsonl').read_text().splitlines()) == 3
    monkeypatch.setattr('bljust_jax.data.preparing.shards.examples', lambda *_: pytest.fail('read again'))
    assert make(tmp_path / 'a', records, max_rejected=0.3)['dev'].utterances == 7


def test_mended_source_is_read_where_it_changed(tmp_path, small_shards):
    hostile.write_corpus(tmp_path / 'audio', 8, 0.5)
    files = sorted((tmp_path / 'audio').glob('*.flac'))
    records = [Utterance(path.stem, AudioFile(path), 'a', '', 'dev') for path in files]
    good = files[6].read_bytes()
    files[6].write_bytes(b'junk')
    with pytest.raises(UserError, match='1 of 8'):
        make(tmp_path / 'a', records)
    first = part_path(partial_dir(tmp_path / 'a', 'calls'), 'dev-000000').stat().st_mtime_ns
    files[6].write_bytes(good)
    seen = []
    make(tmp_path / 'a', records, check=lambda folder: seen.append(
        part_path(partial_dir(tmp_path / 'a', 'calls'), 'dev-000000').stat().st_mtime_ns))  # fmt: skip
    assert seen == [first]
    make(tmp_path / 'b', records)
    assert shard_bytes(tmp_path / 'a') == shard_bytes(tmp_path / 'b')


def test_other_sources_or_rules_are_noticed(tmp_path):
    make(tmp_path, hostile.utterances(5))
    with pytest.raises(UserError, match='with other rules .min_seconds=0.3 instead of 0.2.: --overwrite'):
        make(tmp_path, hostile.utterances(5), rules=Rules(min_seconds=0.2))
    with pytest.raises(UserError, match='of other records, or their files have changed: --overwrite'):
        make(tmp_path, hostile.utterances(6))
    assert len(dataset.load_split(tmp_path, 'calls', 'dev')) == 5
    make(tmp_path, hostile.utterances(6), overwrite=True)
    assert len(dataset.load_split(tmp_path, 'calls', 'dev')) == 6


def test_what_an_overwriting_run_left_when_it_was_killed(tmp_path):
    make(tmp_path, hostile.utterances(5))
    (tmp_path / '.calls.partial' / 'replaced' / 'old').mkdir(parents=True)
    make(tmp_path, hostile.utterances(6), overwrite=True)
    (tmp_path / '.calls.partial').mkdir()
    make(tmp_path, hostile.utterances(6))
    assert len(dataset.load_split(tmp_path, 'calls', 'dev')) == 6
    assert not (tmp_path / '.calls.partial').exists()


def test_the_share_of_rejected_records_is_asked_for_again(tmp_path):
    records = [*hostile.utterances(3), Utterance('silent', b'', 'hello', '', 'dev')]
    make(tmp_path, records, max_rejected=0.5)
    with pytest.raises(UserError, match='max_rejected is 0.05'):
        make(tmp_path, records)


@pytest.mark.filterwarnings('ignore:os.fork')
def test_want_of_memory_is_no_bad_data(monkeypatch):
    def exhausted(recording):
        raise MemoryError

    monkeypatch.setattr(examples_module, 'blocks', exhausted)
    with pytest.raises(MemoryError):
        list(examples_module.examples(next(iter(hostile.utterances(1))), RULES))
    (utterance,) = hostile.utterances(1)
    monkeypatch.setattr(worker, 'examples', lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(UserError, match='for want of memory'):
        worker.tried(utterance, RULES, 10.0)


def test_source_that_changes_meanwhile(tmp_path):
    counts = iter([5, 6])
    with pytest.raises(UserError, match='changed while it was read'):
        build(About('calls'), lambda: plan(hostile.utterances(next(counts)), RULES), RULES, tmp_path, workers=0)


def test_split_without_a_record_left(tmp_path):
    records = [*hostile.utterances(30), *hostile.utterances(1, {0: b'junk'}, split='test')]
    with pytest.raises(UserError, match='no record of test is left'):
        build(About('calls', splits=('dev', 'test')), lambda: plan(records, RULES), RULES, tmp_path, workers=0)
    with pytest.raises(UserError, match='not a single record'):
        make(tmp_path / 'a', [])


def test_decoder_that_crashes_or_hangs(tmp_path, small_shards):
    records = hostile.utterances(9, {2: hostile.crash, 3: hostile.crash, 5: hostile.hang})
    told = []
    shards = list(plan(records, RULES))
    write_shards(shards, tmp_path, RULES, workers=2, note=lambda _, n: told.append(n), record_seconds=1.0, patience=5.0)
    parts = [read_part(part_path(tmp_path, shard.name)) for shard in shards]
    rejected = {row['id']: (row['reason'], row['detail']) for part in parts for row in part.rejected}
    assert rejected == {
        'u2': ('not audio', 'the decoder crashes on it (signal 11)'),
        'u3': ('not audio', 'the decoder crashes on it (signal 11)'),
        'u5': ('unreadable file', 'not read within 1 s'),
    }
    assert [name for part in parts for name in part.ids] == ['u0', 'u1', 'u4', 'u6', 'u7', 'u8']
    assert sum(told) == 9


def test_error_in_a_process_is_raised_here(tmp_path):
    shards = list(plan(hostile.utterances(3, {1: hostile.refuse}), RULES))
    with pytest.raises(UserError, match='nobody can read this'):
        write_shards(shards, tmp_path, RULES, workers=1)


SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it
from pathlib import Path
from bljust_jax.data.preparing import plan as planning
planning.SHARD_RECORDS = 4
from bljust_jax.data.preparing.given import prepare_manifests
from bljust_jax.data.preparing.rules import Rules
Path(sys.argv[1]).mkdir(exist_ok=True)
prepare_manifests('calls', {'labelled': [sys.argv[2]]}, Rules(), Path(sys.argv[1]), workers=2, max_rejected=0.0,
                  overwrite=False)
"""


def start(folder: Path, table: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, '-c', SCRIPT, str(folder), str(table)], cwd=ROOT)


def workers_of(process: int) -> list[int]:
    return [int(name) for name in Path(f'/proc/{process}/task/{process}/children').read_text().split()]


def is_alive(process: int) -> bool:
    try:
        return 'Z' not in Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()[0]
    except FileNotFoundError:
        return False


def wait_for_end(workers: list[int]) -> None:
    end = time.monotonic() + 60
    while any(map(is_alive, workers)):
        assert time.monotonic() < end, 'a worker outlives its parent'
        time.sleep(0.05)


def kill_after(folder: Path, table: Path, condition) -> list[int]:
    """Kills a run when `condition` says so, or lets it end; the processes that it had started."""
    process = start(folder, table)
    workers = []
    while process.poll() is None and not condition():
        time.sleep(0.005)
        workers = workers_of(process.pid) if process.poll() is None else workers
    process.kill()
    process.wait()
    return workers


def test_killed_run_goes_on_and_leaves_nobody_behind(tmp_path):
    hostile.write_corpus(tmp_path / 'audio', 60)
    table, folder = tmp_path / 'audio' / 'table.csv', tmp_path / 'a'
    partial = partial_dir(folder, 'calls')
    workers = kill_after(folder, table, lambda: len(list(partial.glob('*.json'))) >= 3)
    assert workers and not (folder / 'calls').exists()
    wait_for_end(workers)
    done = {path.name: path.stat().st_mtime_ns for path in partial.glob('*.json')}
    kill_after(folder, table, lambda: len(list(partial.glob('*.json'))) > len(done) + 2)
    assert {name: (partial / name).stat().st_mtime_ns for name in done} == done  # they are not made again
    assert start(folder, table).wait() == start(tmp_path / 'b', table).wait() == 0
    assert shard_bytes(folder) == shard_bytes(tmp_path / 'b')
    assert not partial.exists()


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path):
    hostile.write_corpus(tmp_path / 'audio', 100)
    table = tmp_path / 'audio' / 'table.csv'
    began = time.monotonic()
    assert start(tmp_path / 'b', table).wait() == 0
    whole = time.monotonic() - began
    choose = random.Random(0)
    for _ in range(20):
        end = time.monotonic() + choose.uniform(0, 1.2 * whole)
        kill_after(tmp_path / 'a', table, lambda end=end: time.monotonic() > end)
    assert start(tmp_path / 'a', table).wait() == 0
    assert shard_bytes(tmp_path / 'a') == shard_bytes(tmp_path / 'b')


def test_interrupt_ends_all(tmp_path):
    hostile.write_corpus(tmp_path / 'audio', 60)
    process = start(tmp_path / 'a', tmp_path / 'audio' / 'table.csv')
    while not (workers := workers_of(process.pid)):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) != 0
    wait_for_end(workers)


def test_plan_depends_on_the_records_alone(tmp_path, small_shards):
    records = [*hostile.utterances(5), *hostile.utterances(6, split='test')]
    one, other = list(plan(iter(records), RULES)), list(plan(records, RULES))
    assert one == other
    assert [(shard.name, len(shard.records)) for shard in one] == [
        ('dev-000000', 4), ('test-000000', 4), ('dev-000001', 1), ('test-000001', 2)
    ]  # fmt: skip
    assert next(plan(records, Rules())).fingerprint != one[0].fingerprint


@pytest.mark.parametrize('split', ['', '../x', 'A b', 'x' * 65, 'unknown'])
def test_split_without_a_proper_name(split):
    (shard,) = plan(hostile.utterances(1, split=split), RULES)
    assert shard.split == 'unknown' and shard.records[0].reason == Reason.BAD_ROW


def test_seen_against_a_set(monkeypatch):
    monkeypatch.setattr(Seen, '_RECENT', 8)
    choose, seen, expected = random.Random(0), Seen(), set()
    for _ in range(2000):
        name = str(choose.randrange(700))
        assert seen.add(name) == (name not in expected)
        expected.add(name)
    assert len(seen._runs) < 10 and sum(map(len, seen._runs)) + len(seen._recent) == len(expected)


def test_what_could_not_be_read_is_tried_again(tmp_path, monkeypatch):
    path = tmp_path / 'late.wav'
    path.write_bytes(fakes.sound(1.0))
    records = [*hostile.utterances(5), Utterance('late', AudioFile(path), 'hello', '', 'dev')]
    original = audio_module.open_regular

    def refused(name, **options):
        if name == path:
            raise PermissionError(errno.EACCES, 'Permission denied')
        return original(name, **options)

    with monkeypatch.context() as patched:
        patched.setattr(audio_module, 'open_regular', refused)
        with pytest.raises(UserError, match='unreadable file'):
            make(tmp_path, records)
        with pytest.raises(UserError, match='unreadable file'):
            make(tmp_path, records)
        assert make(tmp_path / 'other', records, max_rejected=0.5)['dev'].rejected == {'unreadable file': 1}
        assert make(tmp_path / 'other', records, max_rejected=0.5)['dev'].utterances == 5
    assert make(tmp_path, records)['dev'].utterances == 6
    assert make(tmp_path / 'other', records, max_rejected=0.5)['dev'].utterances == 5
    assert make(tmp_path / 'other', records, overwrite=True)['dev'].utterances == 6


def test_a_damaged_shard_is_written_again(tmp_path):
    records = [*hostile.utterances(5), Utterance('silent', b'', 'hello', '', 'dev')]
    with pytest.raises(UserError, match='max_rejected'):
        make(tmp_path, records)
    (shard,) = partial_dir(tmp_path, 'calls').glob('*.array_record')
    whole = shard.read_bytes()
    os.truncate(shard, len(whole) // 2)
    with pytest.raises(UserError, match='max_rejected'):
        make(tmp_path, records)
    assert shard.read_bytes() == whole


def test_ids_of_pieces_must_not_be_those_of_others(tmp_path, monkeypatch):
    monkeypatch.setattr(vad, 'speech_pieces', lambda blocks, **_: iter([(0, sum(map(len, blocks)))]))
    records = [
        Utterance(name, fakes.sound(seconds), None, '', 'dev') for name, seconds in (('a', 30.0), ('a@0.00-30.00', 1.0))
    ]
    with pytest.raises(UserError, match="the id 'a@0.00-30.00', one of them a piece"):
        make(tmp_path, records)


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    """Ten times the records cost no more than a little: of their ids, and of what allocators keep."""
    # Not ru_maxrss, which a process inherits from the one that started it.
    body = SCRIPT + "\nprint([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"
    peaks = []
    for rows in (20, 200):
        hostile.write_corpus(tmp_path / str(rows), rows)
        command = [sys.executable, '-c', body, str(tmp_path / f'out{rows}'), str(tmp_path / str(rows) / 'table.csv')]
        printed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
        peaks.append(int(printed.split()[-1]))
    assert peaks[1] < peaks[0] + 50_000 and max(peaks) < 1_000_000  # KiB


def test_sidecar_is_what_numpy_writes(tmp_path, small_shards):
    make(tmp_path, hostile.utterances(9))
    with np.load(dataset.sidecar_path(tmp_path / 'calls' / '1.0.0', 'dev'), allow_pickle=False) as columns:
        assert columns['ids'].dtype == np.array([f'u{i}' for i in range(9)]).dtype
        assert columns['samples'].dtype == columns['characters'].dtype == np.int32
        assert columns['speakers'].tolist() == ['ann'] * 9
    assert os.path.getsize(dataset.sidecar_path(tmp_path / 'calls' / '1.0.0', 'dev')) < 5000
