"""How the cost of a supervised step grows, and how fast every preset trains.

    python -m benchmarks.scaling [--repeats=7] [--figure=docs/scaling.svg]

One quantity at a time is varied around the preset `mini` with synthetic audio: seconds of audio in a batch, layers,
width, and the length of its utterances at the same seconds in a batch. Measured are the seconds of a step (gradient and
update) and the memory that its compiled gradient takes beside parameters and batch. All points are compiled first and
timed by turns. Exponents are the slopes of straight lines through the logarithms. The ratio of the last line is the
exponent of time in batch seconds.
"""

import argparse
import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.side_by_side import print_result
from bljust_jax.config import SAMPLE_RATE, Config
from bljust_jax.memory import keep_freed_memory
from configs import conformer

if TYPE_CHECKING:
    from bljust_jax.types import Batch

VOCAB = 30
LABELS_PER_SECOND = 12
BASE = {'batch seconds': 32, 'layers': 4, 'width': 176, 'utterance seconds': 8}
VALUES = {
    'batch seconds': (8, 16, 32, 64, 128),
    'layers': (1, 2, 4, 8),
    'width': (88, 176, 352, 704),
    'utterance seconds': (2, 4, 8, 16, 32),
}


class Point(NamedTuple):
    """One compiled program.

    Attributes:
      step: runs one step to its end.
      mib: temporary memory of its gradients, in MiB.
    """

    step: Callable[[], None]
    mib: float


def synthetic(rows: int, seconds: float, *, labelled: bool) -> 'Batch':
    """Noise of full length, with 12 labels a second or none."""
    from bljust_jax.types import Batch

    random, samples = np.random.default_rng(0), round(seconds * SAMPLE_RATE)
    labels = round(seconds * LABELS_PER_SECOND) if labelled else 0
    return Batch(
        audio=random.integers(-3000, 3000, (rows, samples), np.int16),
        lengths=np.full(rows, samples, np.int32),
        labels=random.integers(1, VOCAB, (rows, labels), np.int32),
        label_lengths=np.full(rows, labels, np.int32),
        ends=np.full((rows, 1), samples, np.int32),
    )


def compile_point(config: Config, batches: 'Mapping[str, Batch]') -> Point:
    """The step of the levels that `batches` are for."""
    import jax

    from bljust_jax.build import build
    from bljust_jax.step import level_gradient

    system = build(config, VOCAB)
    active = tuple(level.name for level in system.levels if level.name in batches)
    run = system.make_steps()[active]
    state = jax.jit(system.init_state)(0)
    on_device = jax.device_put(dict(batches))
    mib = 0.0
    for level in system.levels:
        if level.name in batches:
            gradient = jax.jit(functools.partial(level_gradient, level))
            lowered = gradient.lower(batches[level.name], state.params, state.seed, state.step)
            mib = max(mib, lowered.compile().memory_analysis().temp_size_in_bytes / 2**20)

    def step() -> None:
        nonlocal state
        state, _ = jax.block_until_ready(run(state, on_device))

    step()
    return Point(step, mib)


def varied(name: str, value: int) -> Point:
    """The supervised step of `mini`, one quantity of `BASE` replaced."""
    sizes = BASE | {name: value}
    config = conformer.mini()
    blocks = dataclasses.replace(config.conformer, layers=sizes['layers'], width=sizes['width'])
    strategy = dataclasses.replace(config.strategy, name='supervised')
    seconds = min(sizes['utterance seconds'], sizes['batch seconds'])
    batch = synthetic(sizes['batch seconds'] // seconds, seconds, labelled=True)
    return compile_point(dataclasses.replace(config, conformer=blocks, strategy=strategy), {'sup': batch})


def median_seconds(points: Mapping[Any, Point], repeats: int) -> dict[Any, float]:
    """Median step of each, timed by turns."""
    seconds: dict[Any, list[float]] = {key: [] for key in points}
    for _ in range(repeats):
        for key, point in points.items():
            start = time.perf_counter()
            point.step()
            seconds[key].append(time.perf_counter() - start)
    return {key: statistics.median(values) for key, values in seconds.items()}


def exponent(values: tuple[int, ...], costs: list[float]) -> float:
    """Slope of log cost against log value."""
    return float(np.polyfit(np.log(values), np.log(costs), 1)[0])


def draw(path: str, seconds: Mapping[tuple[str, int], float], points: Mapping[tuple[str, int], Point]) -> None:
    """Two rows of panels on logarithmic axes: seconds and memory against each quantity."""
    import matplotlib

    matplotlib.use('svg')
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(VALUES), figsize=(12, 5.5), sharey='row', layout='constrained')
    for column, (name, values) in enumerate(VALUES.items()):
        for axis, costs, label in (
            (axes[0, column], [seconds[name, value] for value in values], 'seconds a step'),
            (axes[1, column], [points[name, value].mib for value in values], 'temporary MiB'),
        ):
            slope = exponent(values, costs)
            axis.loglog(values, costs, 'o-', color='#1f5fa8')
            axis.set_title(f'∝ {name}^{slope:.2f}', fontsize=10)
            axis.set_xticks(values, map(str, values))
            axis.set_xticks([], minor=True)
            axis.grid(alpha=0.3, which='both')
            if column == 0:
                axis.set_ylabel(label)
        axes[1, column].set_xlabel(name)
    figure.savefig(path)


def presets() -> dict[str, tuple[Point, float]]:
    """The joint step of every preset and the seconds of audio in it, on batches of its most common shape.

    `librispeech` has 16 s a level here instead of 1600, which no CPU would hold.
    """
    rows = {'mini': ((3, 8.0), (1, 8.0)), 'smoke': ((2, 4.0), (4, 2.0)), 'amazon_queen': ((8, 4.0), (2, 8.0))}
    rows['librispeech'] = ((1, 16.0), (1, 16.0))
    result = {}
    for name, (labelled, unlabelled) in rows.items():
        batches = {'sup': synthetic(*labelled, labelled=True), 'unsup': synthetic(*unlabelled, labelled=False)}
        audio = sum(rows * seconds for rows, seconds in (labelled, unlabelled))
        result[name] = compile_point(conformer.PRESETS[name](), batches), audio
    return result


def main() -> None:
    """Measures, prints and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=int, default=7)
    parser.add_argument('--figure', default='', help='where to draw it (.svg or .png), which needs matplotlib')
    options = parser.parse_args()
    keep_freed_memory()
    points = {(name, value): varied(name, value) for name, values in VALUES.items() for value in values}
    seconds = median_seconds(points, options.repeats)
    slopes = {}
    for name, values in VALUES.items():
        times, memory = [seconds[name, value] for value in values], [points[name, value].mib for value in values]
        slopes[name] = round(exponent(values, times), 2), round(exponent(values, memory), 2)
        for value, step, mib in zip(values, times, memory, strict=True):
            print(f'{name:<18} {value:4}  {step:7.3f} s  {mib:7.0f} MiB')
        print(f'{name:<18} exponents: time {slopes[name][0]}, memory {slopes[name][1]}')
    if options.figure:
        draw(options.figure, seconds, points)
    trained = presets()
    steps = median_seconds({name: point for name, (point, _) in trained.items()}, options.repeats)
    throughput = {name: round(audio / steps[name], 1) for name, (_, audio) in trained.items()}
    for name, hours in throughput.items():
        print(f'{name:<14} {steps[name]:7.3f} s a joint step, {hours:6.1f} audio-hours per hour')
    print_result('scaling', slopes['batch seconds'][0], exponents=slopes, audio_hours_per_hour=throughput)


if __name__ == '__main__':
    main()
