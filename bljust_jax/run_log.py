"""What a run writes down as it goes: `metrics.jsonl`, TensorBoard events, and the progress line.

A line of `metrics.jsonl` is one JSON object: `step`, `phase`, and flat keys such as `loss/<level>`, `gamma/<level>`,
`value_gap/<level>`, `grad_cosine/<level>`, `accuracy/<level>`, `learning_rate/<group>`, `wer/<split>`, `cer/<split>`;
training lines also have what the run has `Spent` so far. What happened at a step has a line of its own, whose key, such
as `guard/<guard>/<level>`, has a text.
"""

import contextlib
import json
import math
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from tensorboardX import RecordWriter
from tensorboardX.proto import event_pb2, summary_pb2, tensor_pb2

from bljust_jax.errors import UserError
from bljust_jax.files import write_atomically

METRICS_FILE = 'metrics.jsonl'


class RunLog:
    """Appends to a run's `metrics.jsonl` and to TensorBoard events in `tensorboard/`, on disk after each write.

    A run that was killed may have logged steps after its last checkpoint, and half a line. Opening the log at the
    step that training continues from cuts both away, so that no step is ever logged twice.

    Args:
      workdir: the run's folder, made if it does not exist.
      step: the step training continues from; 0 starts afresh.
    """

    def __init__(self, workdir: str | os.PathLike[str], *, step: int = 0) -> None:
        workdir = Path(workdir)
        (workdir / 'tensorboard').mkdir(parents=True, exist_ok=True)
        path = workdir / METRICS_FILE
        _cut_after(path, step)
        self._file = path.open('a', encoding='utf-8')
        self._events = _Events(workdir / 'tensorboard', step)

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Logs the values of one step; numbers that are not finite become `null`, text such as the phase stays."""
        line = {'step': int(step)} | {key: _plain(value) for key, value in values.items()}
        self._file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + '\n')
        self._file.flush()
        self._events.write(step, {key: value for key, value in line.items() if key != 'step'})

    def note(self, step: int, key: str, text: str) -> None:
        """Logs in words what happened at a step, for TensorBoard's tab of texts too."""
        self.write(step, {key: text})
        self._events.note(step, key, text)

    def close(self) -> None:
        """Closes the files; the log must not be written to after it."""
        self._file.close()
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`, in order; a value that was not finite is None. A torn last line is left out.

    Raises:
      UserError: for a damaged line that is not the last.
    """
    return [line for line, _ in _lines(Path(path))]


class Spent(NamedTuple):
    """What a run has used, all its sittings together.

    Attributes:
      wall_seconds: time since the corpus was there, with set-up, compilation and evaluations.
      train_seconds: the training steps alone.
      audio_seconds: audio that they used, of all levels.
      flops: floating-point operations of these steps, as `bljust_jax.flops` counts them.
    """

    wall_seconds: float = 0.0
    train_seconds: float = 0.0
    audio_seconds: float = 0.0
    flops: float = 0.0

    @property
    def speed(self) -> float:
        """Audio hours per hour of training (0 before any)."""
        return self.audio_seconds / self.train_seconds if self.train_seconds > 0 else 0.0


def read_spent(path: str | os.PathLike[str]) -> Spent:
    """What the run had used by the last line of training in a `metrics.jsonl`; a count that it does not have is 0."""
    lines = (line for line in reversed(read_metrics(path)) if 'train_seconds' in line)
    return next((Spent(**{name: line[name] for name in Spent._fields if name in line}) for line in lines), Spent())


def _lines(path: Path) -> list[tuple[dict[str, Any], bytes]]:
    """Each whole line, parsed and raw. The last may be torn: cut short by a kill, or a hole left by a crashed disk."""
    raw_lines = path.read_bytes().splitlines(keepends=True)
    parsed = []
    for number, raw in enumerate(raw_lines, 1):
        try:
            line = json.loads(raw)
            line['step'] = int(line['step'])
        except (ValueError, TypeError, KeyError) as error:
            if number == len(raw_lines):
                break
            raise UserError(f'Line {number} of {path} is damaged: repair it, or move the file away.') from error
        if raw.endswith(b'\n'):
            parsed.append((line, raw))
    return parsed


def _cut_after(path: Path, step: int) -> None:
    """Rewrites the log without what is past `step`, in one move: killed half-way, the old log is still whole."""
    if not path.exists():
        return
    write_atomically(path, b''.join(raw for line, raw in _lines(path) if line['step'] <= step))


def _plain(value: Any) -> Any:
    """A JSON value: text and None as they are, integers exact, everything else a float, or None if not finite."""
    if value is None or isinstance(value, str | bool | int):
        return value
    number = float(value)
    return number if math.isfinite(number) else None


class _Events:
    """TensorBoard events, written at once: `SummaryWriter` hangs for ever when its thread meets a full disk."""

    def __init__(self, folder: Path, step: int) -> None:
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        name = f'events.out.tfevents.{seconds}.{socket.gethostname()}.{nanoseconds:09d}'
        self._writer = RecordWriter(str(folder / name))
        self._event(file_version='brain.Event:2')
        if step:  # TensorBoard drops what earlier files hold from this step on
            self._event(step=step + 1, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))
        self._writer.flush()

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        scalars = [
            summary_pb2.Summary.Value(tag=key, simple_value=value)
            for key, value in values.items()
            if isinstance(value, int | float)
        ]
        if scalars:
            self._event(step=step, summary=summary_pb2.Summary(value=scalars))
            self._writer.flush()

    def note(self, step: int, key: str, text: str) -> None:
        metadata = summary_pb2.SummaryMetadata(plugin_data={'plugin_name': 'text'})
        tensor = tensor_pb2.TensorProto(dtype='DT_STRING', string_val=[text.encode()])
        value = summary_pb2.Summary.Value(tag=key, metadata=metadata, tensor=tensor)
        self._event(step=step, summary=summary_pb2.Summary(value=[value]))
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _event(self, **fields: Any) -> None:
        self._writer.write(event_pb2.Event(wall_time=time.time(), **fields).SerializeToString())


_NOTHING = Spent()


class Progress:
    """What a run has used, its speed and its remaining time (forgetting slowly: an exponential mean over lines).

    Speed and remaining time are of training only: wrap evaluation, checkpointing and compilation in `paused()`.

    >>> progress = Progress(total=3000)
    >>> progress.count(audio_seconds=61.5, flops=2.4e11)      # after each step
    >>> with progress.paused():
    ...     pass                                # evaluate, compile
    >>> line = progress.line(1, 'joint', {'loss/sup': 1.234, 'gamma/unsup': 0.4})

    Args:
      total: steps of the whole run.
      before: what earlier sittings used.
      started: when wall time began, on the same clock; now by default.
      memory: what is left of an interval's share in the estimate one progress line later.
      clock: seconds, from any origin.

    Attributes:
      spent: what all sittings together have used, as of the last line.
    """

    def __init__(
        self,
        total: int,
        *,
        before: Spent = _NOTHING,
        started: float | None = None,
        memory: float = 0.8,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._total, self._memory, self._clock = total, memory, clock
        self._since = clock()
        self._wall_start = (self._since if started is None else started) - before.wall_seconds
        self.spent = before
        self._steps = self._audio = self._seconds = 0.0
        self._interval_steps = self._interval_audio = self._interval_flops = self._interval_paused = 0.0

    def count(self, audio_seconds: float, flops: float = 0.0) -> None:
        """Notes one step, with the audio it used and its operations."""
        self._interval_steps += 1
        self._interval_audio += audio_seconds
        self._interval_flops += flops

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves what happens inside out of the estimate."""
        start = self._clock()
        try:
            yield
        finally:
            self._interval_paused += self._clock() - start

    def line(self, step: int, phase: str, values: Mapping[str, Any]) -> str:
        """Closes the interval since the last line and returns `progress_line` for `step`."""
        self._close_interval()
        eta = (self._total - step) * self._seconds / self._steps if self._steps else None
        return progress_line(step, self._total, phase, values, speed=self.speed, eta=eta)

    @property
    def speed(self) -> float | None:
        """Audio hours per hour of training at present, None before the first line."""
        return self._audio / self._seconds if self._seconds > 0 and self._audio > 0 else None

    def _close_interval(self) -> None:
        now = self._clock()
        seconds = max(now - self._since - self._interval_paused, 0.0)
        self._steps = self._memory * self._steps + self._interval_steps
        self._audio = self._memory * self._audio + self._interval_audio
        self._seconds = self._memory * self._seconds + seconds
        self.spent = Spent(
            now - self._wall_start,
            self.spent.train_seconds + seconds,
            self.spent.audio_seconds + self._interval_audio,
            self.spent.flops + self._interval_flops,
        )
        self._since = now
        self._interval_steps = self._interval_audio = self._interval_flops = self._interval_paused = 0.0


def progress_line(
    step: int,
    total: int,
    phase: str,
    values: Mapping[str, Any],
    *,
    speed: float | None = None,
    eta: float | None = None,
) -> str:
    """One line for the terminal, of what there is among `values` (keyed as in `metrics.jsonl`).

    Args:
      step: steps taken, of `total`.
      phase: name of the phase.
      values: losses, γ, cosine, learning rate; others are not shown.
      speed: hours of audio per hour.
      eta: seconds that are left.

    >>> progress_line(1200, 3000, 'joint', {'loss/sup': 1.234, 'gamma/unsup': 0.4, 'grad_cosine/unsup': 0.12,
    ...               'learning_rate/encoder': 0.0012}, speed=62.3, eta=252)
    '1200/3000 joint  loss sup 1.234  γ 0.40  cos +0.12  lr 1.2e-3  62 h/h  ETA 4m12s'
    """
    parts = [f'{step:>{len(str(total))}}/{total} {phase}']
    losses = _group(values, 'loss')
    if losses:
        parts.append('loss ' + ' '.join(f'{level} {_number(loss, ".3f")}' for level, loss in losses.items()))
    for key, label, spec in (('gamma', 'γ', '.2f'), ('grad_cosine', 'cos', '+.2f')):
        if levels := _group(values, key):
            numbers = {level: _number(value, spec) for level, value in levels.items()}
            only = len(levels) == 1
            parts.append(f'{label} ' + ' '.join(text if only else f'{level} {text}' for level, text in numbers.items()))
    rates = _group(values, 'learning_rate')
    if rates:
        parts.append('lr ' + _number(rates.get('encoder', next(iter(rates.values()))), '.1e'))
    if speed is not None:
        parts.append(f'{speed:.{0 if speed >= 10 else 1}f} h/h')
    if eta is not None:
        parts.append(f'ETA {duration(eta)}')
    return '  '.join(parts)


def duration(seconds: float) -> str:
    """Seconds as `42s`, `4m12s`, `3h05m` or `2d07h`."""
    seconds = max(round(seconds), 0)
    if seconds < 60:
        return f'{seconds}s'
    if seconds < 3600:
        return f'{seconds // 60}m{seconds % 60:02d}s'
    if seconds < 86400:
        return f'{seconds // 3600}h{seconds % 3600 // 60:02d}m'
    return f'{seconds // 86400}d{seconds % 86400 // 3600:02d}h'


def _group(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """`{'sup': 1.2}` of `{'loss/sup': 1.2, ...}`; a bare `prefix` has the name ''."""
    return {
        key.removeprefix(prefix).removeprefix('/'): value
        for key, value in values.items()
        if key == prefix or key.startswith(f'{prefix}/')
    }


def _number(value: Any, spec: str) -> str:
    if value is None or not math.isfinite(value):
        return 'nan'
    # A γ of 0.005 is not 0.01.
    text = format(float(value), '.1e' if spec == '.2f' and 0 < value < 0.1 else spec)
    mantissa, e, exponent = text.partition('e')
    return f'{mantissa}e{int(exponent)}' if e else text
