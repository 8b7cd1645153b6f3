"""What the input costs: log-mel on the device, the pipeline on the host, and the padding of batches.

    python -m benchmarks.input [--preset=mini] [--repeats=9]

Timed by turns on the same two batches: the joint step of the preset, from int16 audio to updated parameters, and their
log-mel features alone. The pipeline then reads by itself, as fast as it can. The targets are 0.03 of the step for
log-mel, 5 times what the step consumes for the pipeline, and, for every preset of a real corpus, 0.88 of a padded batch
filled with speech and at most 6 shapes. The ratio is log-mel / step.
"""

import argparse
import functools
import statistics
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from benchmarks.side_by_side import Call, alternate, print_result
from bljust_jax.memory import keep_freed_memory
from configs import conformer

if TYPE_CHECKING:
    from bljust_jax.data.plan import BatchPlan
    from bljust_jax.data.text import Tokenizer
    from bljust_jax.types import Batch

PRESETS = 'mini', 'amazon_queen'
LEVELS = 'sup', 'unsup'
LOG_MEL_TARGET, PIPELINE_TARGET, PADDING_TARGET, SHAPES_TARGET = 0.03, 5.0, 0.88, 6
_READ = 32  # batches of each stream


def joint_step(preset: str) -> Call:
    """The step with both levels on the first batch of each stream."""
    keep_freed_memory()
    import jax

    from bljust_jax.build import build

    system = build(conformer.PRESETS[preset](), _tokenizer(preset).vocab_size)
    step = system.make_steps()[LEVELS]
    batches = jax.device_put({level: next(_read(preset, level)) for level in LEVELS})
    state = jax.jit(system.init_state)(0)

    def call() -> None:
        nonlocal state
        state, _ = jax.block_until_ready(step(state, batches))

    return call


def log_mel_alone(preset: str) -> Call:
    """The features of the same batches."""
    keep_freed_memory()
    import jax

    from bljust_jax.features import log_mel

    options = conformer.PRESETS[preset]().log_mel
    batches = jax.device_put([next(_read(preset, level)) for level in LEVELS])

    @jax.jit
    def features(batch: 'Batch') -> Any:
        return log_mel(batch.audio, batch.lengths, options, batch.ends)

    return lambda: jax.block_until_ready([features(batch) for batch in batches])


def pipeline_seconds(preset: str) -> float:
    """Seconds in which the pipeline alone reads a batch of each stream."""
    from bljust_jax.data.pipeline import measure_rate

    seconds = 0.0
    for level in LEVELS:
        plan = _plan(preset, level)
        seconds += 3600 * plan.hours_per_epoch / plan.steps_per_epoch / measure_rate(_read(preset, level), _READ)
    return seconds


def _plan(preset: str, level: str) -> 'BatchPlan':
    from bljust_jax.streams import plan_stream

    return plan_stream(conformer.PRESETS[preset](), level)[1]


def _read(preset: str, level: str) -> 'Iterator[Batch]':
    from bljust_jax.data.pipeline import stream
    from bljust_jax.streams import plan_stream

    config = conformer.PRESETS[preset]()
    split, plan = plan_stream(config, level)
    return stream(split, plan, _tokenizer(preset) if level == 'sup' else None, workers=config.data.workers)


def _tokenizer(preset: str) -> 'Tokenizer':
    from bljust_jax.data.dataset import data_dir_of, load_or_train_tokenizer

    data = conformer.PRESETS[preset]().data
    return load_or_train_tokenizer(data_dir_of(data), data.corpus)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--preset', choices=PRESETS, default='mini', help='whose step and pipeline are timed')
    parser.add_argument('--repeats', type=int, default=9)
    options = parser.parse_args()
    from bljust_jax.data.dataset import data_dir_of
    from bljust_jax.prepare import prepare_corpus

    for preset in PRESETS:
        data = conformer.PRESETS[preset]().data
        prepare_corpus(data.corpus, data_dir_of(data))
    setups = {'joint step': joint_step, 'log-mel': log_mel_alone}
    step, features = alternate(
        {name: functools.partial(setup, options.preset) for name, setup in setups.items()}, repeats=options.repeats
    ).values()
    reading = statistics.median(pipeline_seconds(options.preset) for _ in range(options.repeats))
    plans = {(preset, level): _plan(preset, level) for preset in PRESETS for level in LEVELS}
    for (preset, level), plan in plans.items():
        print(f'{preset} {level}: {plan.padding_efficiency():.3f} of a batch is speech, {len(plan.shapes)} shapes')
    share, pace = features.median / step.median, step.median / reading
    padding = min(plan.padding_efficiency() for plan in plans.values())
    shapes = max(sum(len(plans[preset, level].shapes) for level in LEVELS) for preset in PRESETS)
    for name, value, target, met in (
        ('log-mel / step', share, LOG_MEL_TARGET, share <= LOG_MEL_TARGET),
        ('pipeline / step', pace, PIPELINE_TARGET, pace >= PIPELINE_TARGET),
        ('speech in batches', padding, PADDING_TARGET, padding >= PADDING_TARGET),
        ('shapes', shapes, SHAPES_TARGET, shapes <= SHAPES_TARGET),
    ):
        print(f'{name:<18}  {value:7.3f}  target {target}: {"met" if met else "missed"}')
    print_result(
        'input',
        share,
        preset=options.preset,
        step_seconds=round(step.median, 4),
        log_mel_seconds=round(features.median, 4),
        pipeline_pace=round(pace, 1),
        padding_efficiency=round(padding, 3),
        shapes=shapes,
        repeats=options.repeats,
    )


if __name__ == '__main__':
    main()
