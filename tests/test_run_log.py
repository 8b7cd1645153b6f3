"""The log of a run that is killed, resumed, and meets numbers that are not finite."""

import json
import struct
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from bljust_jax.errors import UserError
from bljust_jax.run_log import Progress, RunLog, Spent, duration, progress_line, read_metrics, read_spent


def write_steps(workdir: Path, steps: range, start: int = 0) -> None:
    with RunLog(workdir, step=start) as log:
        for step in steps:
            log.write(step, {'phase': 'joint', 'loss/sup': float(step)})


def logged(workdir: Path) -> list[int]:
    return [line['step'] for line in read_metrics(workdir / 'metrics.jsonl')]


def events(workdir: Path) -> list[list[event_pb2.Event]]:
    """The events of each file, oldest first, read by the TFRecord layout."""
    files = []
    for path in sorted((workdir / 'tensorboard').glob('events.out.tfevents.*')):
        data, position, found = path.read_bytes(), 0, []
        while position < len(data):
            (length,) = struct.unpack_from('<Q', data, position)
            found.append(event_pb2.Event.FromString(data[position + 12 : position + 12 + length]))
            position += length + 16
        files.append(found)
    return files


def test_lines_are_flat_json_objects(tmp_path: Path) -> None:
    with RunLog(tmp_path / 'new' / 'run') as log:
        log.write(20, {'phase': 'joint', 'loss/sup': jnp.float32(0.5), 'count': 3, 'gamma/unsup': np.float64(0.25)})
        # Already on disk, before the log is closed.
        (line,) = (tmp_path / 'new' / 'run' / 'metrics.jsonl').read_text().splitlines()
    assert json.loads(line) == {'step': 20, 'phase': 'joint', 'loss/sup': 0.5, 'count': 3, 'gamma/unsup': 0.25}


def test_not_finite_is_null(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.write(1, {'a': float('nan'), 'b': jnp.float32(jnp.inf), 'c': -np.inf, 'd': None})

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    line = json.loads((tmp_path / 'metrics.jsonl').read_text(), parse_constant=refuse)
    assert line == {'step': 1, 'a': None, 'b': None, 'c': None, 'd': None}
    assert read_metrics(tmp_path / 'metrics.jsonl') == [line]


def test_resuming_cuts_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    write_steps(tmp_path, range(10, 60, 10))
    write_steps(tmp_path, range(40, 80, 10), start=30)
    assert logged(tmp_path) == [10, 20, 30, 40, 50, 60, 70]


def test_resuming_at_the_last_step_cuts_nothing(tmp_path: Path) -> None:
    write_steps(tmp_path, range(1, 4))
    before = (tmp_path / 'metrics.jsonl').read_bytes()
    RunLog(tmp_path, step=3).close()
    assert (tmp_path / 'metrics.jsonl').read_bytes() == before
    assert not list(tmp_path.glob('*.tmp'))


def test_starting_afresh_empties_the_log(tmp_path: Path) -> None:
    write_steps(tmp_path, range(1, 4))
    write_steps(tmp_path, range(1, 2))
    assert logged(tmp_path) == [1]


@pytest.mark.parametrize('torn', ['{"step": 3, "lo', '{"step": 3}', '\0\0\0', '[3]', '{"loss": 1}\n'])
def test_torn_last_line_is_cut(tmp_path: Path, torn: str) -> None:
    write_steps(tmp_path, range(1, 3))
    path = tmp_path / 'metrics.jsonl'
    path.write_text(path.read_text() + torn)
    assert logged(tmp_path) == [1, 2]
    write_steps(tmp_path, range(3, 5), start=2)
    assert logged(tmp_path) == [1, 2, 3, 4]


def test_damage_inside_is_told(tmp_path: Path) -> None:
    path = tmp_path / 'metrics.jsonl'
    path.write_text('{"step": 1}\nhello\n{"step": 2}\n')
    with pytest.raises(UserError, match='Line 2 of'):
        read_metrics(path)


def test_what_was_spent_is_read_up_to_where_the_run_goes_on(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        assert read_spent(tmp_path / 'metrics.jsonl') == Spent()
        for step in (1, 2, 3):
            log.write(step, {'loss/sup': 1.0, **Spent(0.3 * step, 0.1 * step, 60.0 * step)._asdict()})
            log.write(step, {'wer/dev': 0.5})
    RunLog(tmp_path, step=2).close()
    assert read_spent(tmp_path / 'metrics.jsonl') == Spent(0.6, 0.2, 120.0)


def test_a_run_begun_before_flops_were_counted_keeps_what_it_had_spent(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.write(1, {'wall_seconds': 3.0, 'train_seconds': 2.0, 'audio_seconds': 60.0})
    assert read_spent(tmp_path / 'metrics.jsonl') == Spent(3.0, 2.0, 60.0, 0.0)


def test_events_hold_the_scalars(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.write(7, {'phase': 'joint', 'loss/sup': 0.5, 'gamma/unsup': 2, 'broken': float('nan')})
    ((version, event),) = events(tmp_path)
    assert version.file_version == 'brain.Event:2'
    assert event.step == 7
    assert {value.tag: value.simple_value for value in event.summary.value} == {'loss/sup': 0.5, 'gamma/unsup': 2.0}


def test_a_note_is_a_text_of_its_step(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.note(7, 'guard/blank/sup', 'Über 200 steps')
    assert read_metrics(tmp_path / 'metrics.jsonl') == [{'step': 7, 'guard/blank/sup': 'Über 200 steps'}]
    ((_, event),) = events(tmp_path)
    (value,) = event.summary.value
    assert (event.step, value.tag, value.metadata.plugin_data.plugin_name) == (7, 'guard/blank/sup', 'text')
    assert [text.decode() for text in value.tensor.string_val] == ['Über 200 steps']


def test_resumed_events_replace_what_came_after(tmp_path: Path) -> None:
    write_steps(tmp_path, range(1, 4))
    write_steps(tmp_path, range(3, 5), start=2)
    (_, *first), (_, restart, *second) = events(tmp_path)
    assert [event.step for event in first] == [1, 2, 3]
    assert (restart.step, restart.session_log.status) == (3, event_pb2.SessionLog.START)
    assert [event.step for event in second] == [3, 4]


def test_progress_line() -> None:
    values = {'loss/sup': 1.234, 'loss/unsup': 5.678, 'gamma/unsup': 0.4, 'grad_cosine/unsup': 0.123}
    line = progress_line(120, 3000, 'joint', values | {'learning_rate/encoder': 1.2e-3}, speed=62.3, eta=252)
    assert line == ' 120/3000 joint  loss sup 1.234 unsup 5.678  γ 0.40  cos +0.12  lr 1.2e-3  62 h/h  ETA 4m12s'


def test_progress_line_of_three_levels_and_of_nothing() -> None:
    values = {'gamma/unsup': 180.0, 'gamma/distil': 0.005, 'loss/sup': None, 'wer/dev': 0.5}
    assert progress_line(1, 2, 'joint', values) == '1/2 joint  loss sup nan  γ unsup 180.00 distil 5.0e-3'
    assert progress_line(0, 10, 'explore', {}) == ' 0/10 explore'


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [(-1, '0s'), (0, '0s'), (59.6, '1m00s'), (252, '4m12s'), (3599.4, '59m59s'), (11100, '3h05m'), (198000, '2d07h')],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_pauses_are_left_out() -> None:
    clock = Clock()
    progress = Progress(100, clock=clock)
    with progress.paused():
        clock.now += 500.0
    for _ in range(10):
        clock.now += 1.0
        progress.count(audio_seconds=60.0)
    assert progress.line(10, 'sup', {}) == ' 10/100 sup  60 h/h  ETA 1m30s'
    assert progress.spent == pytest.approx(Spent(wall_seconds=510.0, train_seconds=10.0, audio_seconds=600.0))
    assert progress.spent.speed == progress.speed == pytest.approx(60.0)


def test_a_resumed_run_adds_up() -> None:
    clock = Clock()
    progress = Progress(100, before=Spent(30.0, 10.0, 50.0), started=clock.now - 3.0, clock=clock)
    assert progress.spent == Spent(30.0, 10.0, 50.0) and progress.speed is None
    clock.now += 5.0
    progress.count(audio_seconds=100.0)
    progress.line(8, 'sup', {})
    assert progress.spent == pytest.approx(Spent(38.0, 15.0, 150.0))
    assert progress.spent.speed == pytest.approx(10.0) and progress.speed == pytest.approx(20.0)


def test_estimate_follows_the_present() -> None:
    clock = Clock()
    progress = Progress(1000, memory=0.5, clock=clock)
    for step in range(1, 9):
        clock.now += 1.0 if step <= 4 else 4.0
        progress.count(audio_seconds=8.0)
        line = progress.line(step, 'sup', {})
    # The mean so far is 8 * 8 / 20 = 3.2, the newest interval alone 2.
    assert progress.spent.speed == pytest.approx(3.2)
    assert ' 2.1 h/h ' in line


def test_nothing_timed_has_no_estimate() -> None:
    progress = Progress(10, clock=Clock())
    assert progress.line(0, 'sup', {}) == ' 0/10 sup'
    assert progress.speed is None and progress.spent.speed == 0.0
