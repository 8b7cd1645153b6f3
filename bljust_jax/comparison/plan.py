"""What is to be run for a comparison: the configs of its arms, checked, and what the dev results of a sweep choose."""

import contextlib
import dataclasses
import functools
import itertools
import multiprocessing
import statistics
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bljust_jax.build import build
from bljust_jax.comparison.arms import Arm, Cell, Comparison, arm_config
from bljust_jax.comparison.budget import StepCosts, matched
from bljust_jax.comparison.costs import keep_costs, known_costs, unit_costs
from bljust_jax.comparison.runner import Job, read_summary
from bljust_jax.config import Config
from bljust_jax.data.dataset import data_dir_of, prepared_corpora
from bljust_jax.data.subset import load_training_split
from bljust_jax.errors import UserError
from bljust_jax.strategies import make_phases, steps_by_levels

Configs = Mapping[str, Config]  # by the label of an arm


def arm_configs(comparison: Comparison, workdir: Path) -> Configs:
    """The config of every arm, with as much of what is matched as the reference has (without its swept value).

    Raises:
      UserError: naming the arm, for a config that cannot be trained, or whose budget cannot be matched; naming both,
        for arms that come to the same config.
    """
    cost = functools.cache(_cost(comparison.match, workdir))
    first = next(arm for arm in comparison.arms if arm.name == comparison.reference)
    unswept = {field: value for field, value in first.overrides.items() if field != first.swept}
    reference = arm_config(comparison, Arm(first.name, unswept))
    configs = {arm.label: arm_config(comparison, arm) for arm in comparison.arms}
    _check_distinct(configs)
    for label, config in configs.items():
        with _told_of(label):
            build(config, vocab_size=2)
            _check_speech(config)
    for label, config in configs.items():
        with _told_of(label):
            configs[label] = matched(config, reference, comparison.match, cost)
    _check_distinct(configs)
    return configs


def unused(comparison: Comparison, configs: Configs) -> list[str]:
    """A line for each name of an arm that a sweep of a level's field has no effect on, as none of its steps uses it.

    A level's γ is for steps in which a level above it is active as well.
    """
    if comparison.sweep is None or not comparison.sweep.field.startswith('levels.'):
        return []
    _, level, *field = comparison.sweep.field.split('.')
    first = 1 if field and field[0].startswith(('gamma', 'gap')) else 0
    used = {
        arm.name: any(level in active[first:] for active in steps_by_levels(make_phases(configs[arm.label].strategy)))
        for arm in comparison.arms
    }
    return [
        f'Note: no step of {name} uses config.{comparison.sweep.field}: all of its values are the same run.'
        for name, found in used.items()
        if not found
    ]


def training_jobs(comparison: Comparison, configs: Configs) -> list[Job]:
    """Every cell, in the order of running; those of a sweep are scored on dev alone."""
    jobs = [_job(cell, configs) for cell in comparison.cells]
    return jobs if comparison.sweep is None else [job._replace(config=_on_dev(job.config)) for job in jobs]


def scoring_jobs(comparison: Comparison, configs: Configs, chosen: Mapping[str, str | None]) -> list[Job]:
    """The cells that are scored on all splits: with a sweep, those of the values that dev has chosen."""
    return [_job(cell, configs) for cell in comparison.cells if chosen[cell.arm.name] == cell.arm.label]


def choose(comparison: Comparison, workdir: Path, errors: Mapping[str, str]) -> dict[str, str | None]:
    """For each name of an arm the label of the arm that stands for it on test; None while that is open.

    Of a sweep it is the value with the lowest mean of `eval.select` on dev over seeds. It is open while cells are to be
    run; a value of which a cell has failed (`errors`, by `run`) is not chosen.
    """
    if comparison.sweep is None:
        return {arm.name: arm.label for arm in comparison.arms}
    chosen: dict[str, str | None] = {}
    for name in dict.fromkeys(arm.name for arm in comparison.arms):
        arms = [arm for arm in comparison.arms if arm.name == name]
        rates = {arm.label: _dev_rates(comparison, arm, workdir) for arm in arms}
        missing = [run for of_arm in rates.values() for run, rate in of_arm.items() if rate is None]
        means = {
            label: statistics.fmean(rate for rate in of_arm.values() if rate is not None)
            for label, of_arm in rates.items()
            if None not in of_arm.values()
        }
        decided = means and all(run in errors for run in missing)
        chosen[name] = min(means, key=means.__getitem__) if decided else None
    return chosen


def _dev_rates(comparison: Comparison, arm: Arm, workdir: Path) -> dict[str, float | None]:
    """The rate that selects, by `run` of the arm's cells; None where there is no result."""
    evaluation, rates = comparison.base.eval, {}
    for seed in comparison.seeds:
        run = Cell(arm, seed).run
        summary = read_summary(workdir / run)
        rates[run] = None if summary is None else summary['splits'][evaluation.dev][evaluation.select]
    return rates


def _job(cell: Cell, configs: Configs) -> Job:
    return Job(cell, dataclasses.replace(configs[cell.arm.label], seed=cell.seed))


@contextlib.contextmanager
def _told_of(label: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f'{label}: {error}') from error


def _check_distinct(configs: Configs) -> None:
    """Checks that no two arms have the same config: the strategy may decide what they set, or their common budget."""
    for (one, config), (other, same) in itertools.combinations(configs.items(), 2):
        if config == same:
            raise UserError(
                f'{one!r} and {other!r} are the same run: what they set makes no difference, or the strategy decides '
                'it anyway. Leave one of them out.'
            )


def _check_speech(config: Config) -> None:
    """Checks that what the config trains on is there, if its corpus is: otherwise the first run prepares it."""
    if config.data.corpus in prepared_corpora(data_dir_of(config.data)):
        for labelled in (True, False):
            load_training_split(config.data, labelled=labelled)


def _cost(match: str, workdir: Path) -> Callable[[Config], StepCosts]:
    """The function that tells the cost of a step of each set of levels, in the unit of `match`.

    What depends on the devices is found in a process of its own, as this one leaves them to the runs.
    """

    def cost(config: Config) -> StepCosts:
        if (known := known_costs(match, config, workdir)) is None:
            process = multiprocessing.get_context('spawn').Process(target=keep_costs, args=(match, config, workdir))
            process.start()
            process.join()
            known = known_costs(match, config, workdir)
        if known is None:
            raise UserError(f'--match={match}: what its steps cost could not be found: see the error above.')
        return known

    return cost if match in ('flops', 'wall') else unit_costs


def _on_dev(config: Config) -> Config:
    return dataclasses.replace(config, eval=dataclasses.replace(config.eval, splits=(config.eval.dev,)))
