"""Costs of steps on the smoke corpus: FLOPs add up as in training; seconds are measured once for a configuration."""

import dataclasses
from pathlib import Path

import pytest

from bljust_jax.comparison import costs
from bljust_jax.comparison.budget import matched, run_cost
from bljust_jax.config import Config
from tests.runs import tiny_config

pytest_plugins = ['tests.run_fixtures']

SUP, UNSUP, BOTH = ('sup',), ('unsup',), ('sup', 'unsup')


def of_strategy(config: Config, name: str, **steps: int) -> Config:
    return dataclasses.replace(config, strategy=dataclasses.replace(config.strategy, name=name, **steps))


@pytest.fixture(scope='module')
def arm(data_dir: Path) -> Config:
    return of_strategy(tiny_config(data_dir), 'bl_just', labelled_steps=300, explore_steps=60, finetune_steps=100)


def test_flops_of_arms_are_matched(arm: Config):
    """A joint step has the gradients of both levels and one update, so less than the steps of both."""
    flops = costs.flops_costs(arm)
    assert flops.keys() == {SUP, UNSUP, BOTH} and min(flops.values()) > 1e6
    assert 0.95 < flops[BOTH] / (flops[SUP] + flops[UNSUP]) < 1.02
    supervised = of_strategy(arm, 'supervised')
    result = matched(supervised, arm, 'flops', lambda _: flops)
    assert result.strategy.labelled_steps > 300
    assert run_cost(result.strategy, flops) == pytest.approx(run_cost(arm.strategy, flops), rel=0.01)


def test_seconds_are_measured_once(arm: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    measured = []

    def measure(config: Config, workdir: Path) -> dict[tuple[str, ...], float]:
        measured.append(config.strategy.name)
        return {SUP: 0.5, UNSUP: 0.25, BOTH: 0.75}

    monkeypatch.setattr(costs, 'measured_costs', measure)
    workdir = tmp_path / 'comparison'
    for config in (arm, dataclasses.replace(arm, seed=7), of_strategy(arm, 'bl_just', labelled_steps=900)):
        assert costs.step_costs('wall', workdir)(config) == {SUP: 0.5, UNSUP: 0.25, BOTH: 0.75}
    costs.step_costs('wall', workdir)(of_strategy(arm, 'joint'))
    assert measured == ['bl_just', 'joint']


@pytest.mark.slow
def test_seconds_of_real_steps(arm: Config, tmp_path: Path):
    seconds = costs.measured_costs(arm, tmp_path, count=2)
    assert seconds.keys() == {SUP, UNSUP, BOTH} and min(seconds.values()) > 0
