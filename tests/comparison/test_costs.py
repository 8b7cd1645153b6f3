"""Costs of steps on the smoke corpus: FLOPs add up as in training; what was found is kept."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from bljust_jax.comparison import costs, plan
from bljust_jax.comparison.budget import matched, run_cost
from bljust_jax.config import Config, with_overrides
from bljust_jax.errors import UserError
from tests.runs import tiny_config

pytest_plugins = ['tests.run_fixtures']
pytestmark = pytest.mark.standard_dtypes

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


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The strategies whose costs were found, of which none takes time."""
    found = []

    def measure(config: Config, *_: Path) -> dict[tuple[str, ...], float]:
        found.append(config.strategy.name)
        of_levels = {SUP: 0.5, UNSUP: 0.25, BOTH: 0.75}
        return {levels: len(found) * of_levels[levels] for levels in costs.unit_costs(config)}

    monkeypatch.setattr(costs, 'measured_costs', measure)
    monkeypatch.setattr(costs, 'flops_costs', measure)
    return found


def found_costs(match: str, config: Config, workdir: Path) -> dict[tuple[str, ...], float]:
    costs.keep_costs(match, config, workdir)
    return costs.known_costs(match, config, workdir)


def test_what_costs_nothing_is_not_measured_again(arm: Config, tmp_path: Path, measured: list[str]):
    assert costs.known_costs('wall', arm, tmp_path) is None
    same = {
        'seed': 7,
        'strategy.labelled_steps': 900,
        'strategy.explore_rate': 0.5,
        'levels.unsup.learning_rate': 0.1,
        'levels.unsup.gamma_max': 0.1,
        'optimizer.learning_rate': 0.1,
        'data.workers': 1,
    }
    for config in (arm, *(with_overrides(arm, {name: value}) for name, value in same.items())):
        assert found_costs('wall', config, tmp_path) == {SUP: 0.5, UNSUP: 0.25, BOTH: 0.75}
    assert measured == ['bl_just']
    for name, value in {'data.batch_seconds': 3.0, 'conformer.width': 32, 'levels.unsup.objective': 'wav2vec2'}.items():
        found_costs('wall', with_overrides(arm, {name: value}), tmp_path)
    assert len(measured) == 4


def test_strategies_share_what_was_measured(arm: Config, tmp_path: Path, measured: list[str]):
    """What came first stays, so that plans that it was in do not change."""
    assert found_costs('wall', of_strategy(arm, 'supervised'), tmp_path) == {SUP: 0.5}
    assert costs.known_costs('wall', arm, tmp_path) is None
    assert found_costs('wall', arm, tmp_path) == {SUP: 0.5, UNSUP: 0.5, BOTH: 1.5}
    assert found_costs('wall', of_strategy(arm, 'joint'), tmp_path) == {BOTH: 1.5}
    assert measured == ['supervised', 'bl_just']


def test_flops_are_kept_beside_seconds(arm: Config, tmp_path: Path, measured: list[str]):
    assert found_costs('wall', arm, tmp_path)[SUP] == 0.5 and found_costs('flops', arm, tmp_path)[SUP] == 1.0
    assert found_costs('wall', arm, tmp_path)[SUP] == 0.5 and measured == ['bl_just', 'bl_just']


def test_a_damaged_file_is_told(arm: Config, tmp_path: Path):
    (tmp_path / 'calibration.json').write_text('{')
    with pytest.raises(UserError, match=r'calibration\.json is damaged: delete it'):
        costs.known_costs('wall', arm, tmp_path)


def keep_made_up_costs(match: str, config: Config, workdir: Path) -> None:
    """Keeps costs as the process of a comparison does, and counts itself."""
    costs.measured_costs = lambda *_: {SUP: 0.5, UNSUP: 0.25, BOTH: 0.75}
    costs.keep_costs(match, config, workdir)
    with open(workdir / 'calls', 'a') as calls:
        calls.write(match + '\n')


def without_result(*_: Any) -> None:
    raise RuntimeError('no device')


def test_costs_are_found_in_a_process_of_its_own(arm: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(plan, 'keep_costs', keep_made_up_costs)
    cost = plan._cost('wall', tmp_path)
    assert cost(arm) == {SUP: 0.5, UNSUP: 0.25, BOTH: 0.75} and cost(of_strategy(arm, 'joint')) == {BOTH: 0.75}
    assert (tmp_path / 'calls').read_text() == 'wall\n'
    monkeypatch.setattr(plan, 'keep_costs', without_result)
    with pytest.raises(UserError, match='--match=flops: what its steps cost could not be found'):
        plan._cost('flops', tmp_path)(arm)


@pytest.mark.slow
def test_seconds_of_real_steps(arm: Config, tmp_path: Path):
    seconds = costs.measured_costs(arm, tmp_path, count=2)
    assert seconds.keys() == {SUP, UNSUP, BOTH} and min(seconds.values()) > 0
