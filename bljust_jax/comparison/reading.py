"""What a comparison has come to: `results.json` and the folders of its runs, and the few questions that reports ask."""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bljust_jax.errors import UserError
from bljust_jax.report import load_run, read_object
from bljust_jax.report_sections import Run, by_interest, escape

RESULTS_FILE = 'results.json'
METRICS = ('cer', 'wer')
NOTES = (
    "Holm's correction is for the arms of one split and one rate, not for all splits and rates together.",
    'The interval of the best arm is not adjusted for its having been picked as the best, which flatters it.',
    "Relative differences and their intervals are divided by the reference's rate as if that were known exactly.",
)
_INTERVALS = {'utterances': 'interval', 'speakers': 'speaker_interval', 'seeds': 'seed_interval'}

Results = Mapping[str, Any]
Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A comparison on disk.

    Attributes:
      folder: name of its folder.
      results: `results.json`.
      runs: what the run of each arm and seed has written so far, empty if it has not begun.
    """

    folder: str
    results: Results
    runs: Mapping[tuple[str, int], Run]

    def finished(self, arm: str) -> dict[int, Run]:
        """The finished runs of an arm, by seed."""
        return {cell['seed']: self.runs[arm, cell['seed']] for cell in cells(self.results, arm, 'finished')}


def load_outcome(workdir: str | os.PathLike[str]) -> Outcome:
    """Reads the comparison in `workdir`, finished or not.

    Raises:
      UserError: if there is none, or one of its files is damaged.
    """
    workdir = Path(workdir)
    if not (workdir / RESULTS_FILE).exists():
        raise UserError(f'There is no comparison in {workdir}: {RESULTS_FILE} is missing.')
    results = read_object(workdir / RESULTS_FILE)
    try:
        runs = {(cell['arm'], cell['seed']): _load(workdir, cell) for cell in results['cells']}
    except (KeyError, TypeError) as error:
        raise UserError(f'{workdir / RESULTS_FILE} is damaged: run the comparison again.') from error
    return Outcome(workdir.resolve().name, {'rows': [], **results}, runs)


def cells(results: Results, arm: str | None = None, state: str | None = None) -> list[Mapping[str, Any]]:
    """The cells, of one arm or in one state if it is given."""
    return [cell for cell in results['cells'] if arm in (None, cell['arm']) and state in (None, cell['state'])]


def unfinished(results: Results) -> list[Mapping[str, Any]]:
    """The cells that have not finished."""
    return [cell for cell in results['cells'] if cell['state'] != 'finished']


def arms(results: Results) -> list[str]:
    """The arms in the order of the command; their place is their colour."""
    return list(dict.fromkeys(cell['arm'] for cell in results['cells']))


def ranked(results: Results) -> list[str]:
    """The arms, fewest errors on the first split first; those without a result there by the next split, or last."""

    def means(arm: str) -> list[float]:
        rows = (find_row(results, arm, split, main_metric(results)) for split in splits(results))
        return [row['mean'] if row else math.inf for row in rows]

    return sorted(arms(results), key=means)


def splits(results: Results) -> list[str]:
    """The splits that have results, test splits first."""
    return by_interest({row['split'] for row in results['rows']})


def main_metric(results: Results) -> str:
    """The rate that models are selected by."""
    metric = str(results.get('select') or '').partition('/')[0]
    return metric if metric in METRICS else METRICS[0]


def metrics(results: Results) -> list[str]:
    """Both rates, the main one first."""
    return sorted(METRICS, key=main_metric(results).__ne__)


def dev_split(results: Results) -> str:
    """The split that checkpoints, and the values of a sweep, are chosen on."""
    return str(results.get('select') or '').partition('/')[2] or 'dev'


def heading(results: Results, split: str) -> str:
    """The name of a split, with a warning where results are better than they should be."""
    return f'{split} (checkpoints were chosen on it)' if split == dev_split(results) else split


def find_row(results: Results, arm: str, split: str, metric: str) -> Row | None:
    """The statistics of one arm, None if there are none yet."""
    wanted = (arm, split, metric)
    return next((row for row in results['rows'] if (row['arm'], row['split'], row['metric']) == wanted), None)


def main_row(results: Results, arm: str) -> Row | None:
    """The statistics of an arm that the comparison is about: the first split's, in the main metric."""
    first = splits(results)[:1]
    return find_row(results, arm, first[0], main_metric(results)) if first else None


def excludes_zero(interval: Sequence[float] | None) -> bool:
    """Whether the interval tells in which direction a difference goes."""
    return interval is not None and (interval[0] > 0 or interval[1] < 0)


def doubts(row: Row) -> list[str]:
    """What speaks against taking the difference of a row for real, in words; nothing if all agrees."""
    against = row['against']
    found = {over: against.get(name) for over, name in _INTERVALS.items()}
    said = [
        f'the interval over {over} includes zero'
        for over, interval in found.items()
        if interval is not None and not excludes_zero(interval)
    ]
    if found['utterances'] is None:
        said.append('one utterance has no interval')
    if against.get('p_holm') is not None and against['p_holm'] >= 0.05:
        said.append(f'Holm p = {p_value(against["p_holm"])}')
    if found['seeds'] is None:
        said.append('one seed is no evidence of what another would give')
    return said


def contradictions(results: Results, row: Row) -> list[Row]:
    """The rows of the same arm, of other splits and rates, that clearly point the other way."""
    sign = row['against']['difference']
    return [
        other
        for other in results['rows']
        if other['arm'] == row['arm'] and (against := other.get('against'))
        if excludes_zero(against['interval']) and against['difference'] * sign < 0
    ]


def _load(workdir: Path, cell: Mapping[str, Any]) -> Run:
    """The run of a cell, without hypotheses of splits that the cell is not scored on, as of a value chosen before."""
    run = load_run(workdir / cell['run'])
    scored = {split: heard for split, heard in run.hypotheses.items() if cell.get(split)}
    return dataclasses.replace(run, hypotheses=scored)


def percent(rate: float, digits: int = 2) -> str:
    """A fraction in percent, without the sign."""
    return f'{100 * rate:.{digits}f}'


def signed(value: float, digits: int = 2) -> str:
    """A fraction in percent with its sign, a true minus; what rounds to zero has none."""
    text = f'{100 * value:+.{digits}f}'
    return text[1:] if not float(text) else text.replace('-', '−')


def relative(value: float | None) -> str:
    """A relative difference with its percent sign; a dash where the reference made no errors."""
    return '–' if value is None else f'{signed(value, 1)}%'


def p_value(p: float | None) -> str:
    """Three digits of a probability."""
    return '–' if p is None else '<0.001' if p < 0.001 else f'{p:.3f}'


def breakable(label: str) -> str:
    """HTML of a label that wraps between its words before it is cut within one."""
    return escape(label).replace('_', '_<wbr>').replace('=', '=<wbr>')
