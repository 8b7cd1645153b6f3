"""Whole runs for tests: a tiny config, and what runs leave behind."""

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from bljust_jax.build import build
from bljust_jax.checkpoint import Checkpoints, abstract_like
from bljust_jax.config import Config, from_config_dict
from bljust_jax.types import TrainState
from bljust_jax.workdir import read_config, read_tokenizer
from configs import conformer

ROOT = Path(__file__).parents[1]
# Two cycles, [explore 3, joint 3] each, and 2 steps of fine-tuning; every step is logged.
TINY = {
    'conformer.layers': 1,
    'conformer.width': 16,
    'conformer.channels': 16,
    'strategy.labelled_steps': 8,
    'strategy.explore_steps': 6,
    'strategy.finetune_steps': 2,
    'optimizer.warmup_steps': 3,
    'eval.every_steps': 7,
    'checkpoint_every_steps': 4,
    'keep_checkpoints': 4,
    'log_every_steps': 1,
}
STEPS = 14
PHASES = ['explore'] * 3 + ['joint'] * 3 + ['explore'] * 3 + ['joint'] * 3 + ['finetune'] * 2


def tiny_config(data_dir: Path, **overrides: Any) -> Config:
    """The smoke preset as small as it gets; an override is written `conformer__layers=2`."""
    values = conformer.get_config('smoke')
    overrides = {name.replace('__', '.'): value for name, value in overrides.items()}
    values.update_from_flattened_dict(TINY | {'data.data_dir': str(data_dir)} | overrides)
    return from_config_dict(values)


Run = Callable[..., subprocess.CompletedProcess]


def logged(workdir: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`, without the time that it took."""
    lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    return [{name: line[name] for name in line if name not in ('wall_seconds', 'train_seconds')} for line in lines]


def losses(workdir: Path) -> dict[int, dict[str, float]]:
    """The losses of each step."""
    return {
        line['step']: {name: value for name, value in line.items() if name.startswith('loss/')}
        for line in logged(workdir)
        if 'phase' in line
    }


@contextlib.contextmanager
def open_checkpoints(workdir: Path, **arguments: Any) -> Iterator[Checkpoints]:
    with Checkpoints(workdir, select='cer/dev', **arguments) as checkpoints:
        yield checkpoints


def final_state(workdir: Path) -> TrainState:
    """The newest state of a run, on one device."""
    config = read_config(workdir)
    abstract = jax.eval_shape(build(config, read_tokenizer(workdir).vocab_size).init_state, config.seed)
    with open_checkpoints(workdir, cleanup=False) as checkpoints:
        state = checkpoints.restore_latest(on_one_device(abstract))
    assert state is not None
    return state


def on_one_device(abstract: TrainState) -> TrainState:
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return abstract_like(abstract, jax.tree.map(lambda _: sharding, abstract))


def assert_same_bits(actual: Any, expected: Any) -> None:
    """Both trees have the same arrays, bit for bit."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for (path, one), other in zip(jax.tree.leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        one, other = jax.device_get((one, other))
        assert one.dtype == other.dtype and one.tobytes() == other.tobytes(), jax.tree_util.keystr(path)
