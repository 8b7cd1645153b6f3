"""What a comparison has come to: `results.json`, tables in Markdown, and transcripts for sclite.

They are made of the summaries and hypotheses that are in the folders of the cells, however many of them have finished.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bljust_jax.comparison.arms import Cell, Comparison
from bljust_jax.comparison.reading import METRICS, RESULTS_FILE
from bljust_jax.comparison.runner import read_summary
from bljust_jax.comparison.statistics import Line, Scores, against, holm, score, table_row
from bljust_jax.comparison.tables import markdown
from bljust_jax.comparison.trn import write_trn
from bljust_jax.errors import UserError
from bljust_jax.files import write_atomically
from bljust_jax.metrics import error_rates
from bljust_jax.workdir import write_json

TABLE_FILE = 'results.md'
_COUNTED = ('wer', 'cer', 'utterances', 'words')

# Lines of `hypotheses/<split>.jsonl`, by split, seed and label of an arm.
Runs = Mapping[str, Mapping[int, Sequence[Line]]]


def write_results(
    comparison: Comparison, workdir: Path, chosen: Mapping[str, str | None], errors: Mapping[str, str]
) -> dict[str, Any]:
    """Writes `results.json`, `results.md` and `trn/<arm>/seed_<n>/<split>.{ref,hyp}.trn` of what has finished.

    Args:
      comparison: what is compared.
      workdir: its folder.
      chosen: the label of the arm that is scored on test, by name of the arm, as `plan.choose` tells.
      errors: why cells have failed, by `run`.

    Returns:
      The content of `results.json`.

    Raises:
      UserError: if a file of a run is damaged, or no longer that of its summary.
    """
    reference = chosen.get(comparison.reference)
    cells = [_cell(comparison, Cell(arm, seed), workdir, chosen, errors) for arm in comparison.arms
             for seed in comparison.seeds]  # fmt: skip
    splits = comparison.base.eval.scored
    rows: list[dict[str, Any]] = []
    shutil.rmtree(workdir / 'trn', ignore_errors=True)  # it may have what was chosen before a sweep grew
    for split in splits:
        runs = _read_runs(comparison, cells, split, workdir)
        for metric in METRICS:
            rows += _rows(runs, split, metric, reference)
    sweep = comparison.sweep
    results = {
        'config': comparison.source,
        'given': dict(comparison.given),
        'corpus': comparison.base.data.corpus,
        'match': comparison.match,
        'reference': reference or comparison.reference,
        'select': comparison.base.eval.criterion,
        'seeds': list(comparison.seeds),
        'sweep': sweep and {'field': sweep.field, 'values': list(sweep.values), 'chosen': dict(chosen)},
        'cells': cells,
        'rows': rows,
    }
    write_json(workdir / RESULTS_FILE, results)
    write_atomically(workdir / TABLE_FILE, markdown(results))
    return results


def read_errors(workdir: Path) -> dict[str, str]:
    """Why cells have failed, by `run`, as `results.json` has it: those of other shards, and of earlier sittings.

    Raises:
      UserError: if the file is damaged.
    """
    path = workdir / RESULTS_FILE
    try:
        cells = json.loads(path.read_text())['cells']
        return {cell['run']: cell['error'] for cell in cells if cell['state'] == 'failed'}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f'{path} is damaged: delete it, and the same command writes it anew.') from error


def _cell(
    comparison: Comparison, cell: Cell, workdir: Path, chosen: Mapping[str, str | None], errors: Mapping[str, str]
) -> dict[str, Any]:
    summary, error = read_summary(workdir / cell.run), errors.get(cell.run)
    arm = cell.arm
    state = 'failed' if error else 'unfinished' if summary is None else 'finished'
    about = {
        'arm': arm.label,
        'strategy': arm.overrides.get('strategy.name', comparison.base.strategy.name),
        'overrides': dict(arm.overrides),
        'seed': cell.seed,
        'run': cell.run,
        'state': state,
        'error': error,
        'best_step': summary and summary['best_step'],
    }
    if summary is None:
        return about | {'budget': None}
    for split in comparison.base.eval.scored:
        if split in summary['splits'] and (split == comparison.base.eval.dev or chosen[arm.name] == arm.label):
            about[split] = {name: summary['splits'][split][name] for name in _COUNTED}
    budget = summary['budget']
    spent = {name: budget.get(name) for name in ('labelled_hours', 'unlabelled_hours', 'flops', 'wall_seconds')}
    return about | {'budget': {'steps': summary['steps'], **spent}}


def _read_runs(comparison: Comparison, cells: Sequence[Mapping[str, Any]], split: str, workdir: Path) -> dict[str, Any]:
    """The hypotheses of all cells that were scored on `split`, by label and seed; they are written as trn as well."""
    runs: dict[str, dict[int, list[Line]]] = {}
    folders = {arm.label: arm.folder for arm in comparison.arms}
    for cell in cells:
        if split not in cell:
            continue
        lines = _read_lines(workdir / cell['run'] / 'hypotheses' / f'{split}.jsonl', cell[split])
        runs.setdefault(cell['arm'], {})[cell['seed']] = lines
        folder = workdir / 'trn' / folders[cell['arm']] / f'seed_{cell["seed"]}'
        folder.mkdir(parents=True, exist_ok=True)
        write_trn(folder / f'{split}.ref.trn', lines, 'reference')
        write_trn(folder / f'{split}.hyp.trn', lines, 'hypothesis')
    return runs


def _read_lines(path: Path, rates: Mapping[str, float]) -> list[Line]:
    again = 'run bljust_jax.evaluate on the folder of the run, without other flags, and then the same command.'
    try:
        lines = [json.loads(line) for line in path.read_text(encoding='utf-8').split('\n') if line]
        found = error_rates([line['reference'] for line in lines], [line['hypothesis'] for line in lines])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f'{path} is missing or damaged: {again}') from error
    if (found.wer, found.cer) != (rates['wer'], rates['cer']):
        raise UserError(f'{path} is not what the run ended with, but of another decoder or corpus: {again}')
    return lines


def _rows(runs: Runs, split: str, metric: str, reference: str | None) -> list[dict[str, Any]]:
    """A row for each arm, with tests against `reference` adjusted for their number."""
    rows = []
    for label, by_seed in runs.items():
        seeds = sorted(by_seed)
        shared = sorted(by_seed.keys() & runs.get(reference or '', {}).keys())
        test: dict[str, Any] | None = None
        if reference is not None and label != reference and shared:
            test = {'seeds': shared} | against(
                _score(by_seed, shared, metric, split),
                _score(runs[reference], shared, metric, split),
            )
        about = {'arm': label, 'split': split, 'metric': metric, 'seeds': seeds}
        rows.append(about | table_row(_score(by_seed, seeds, metric, split)) | {'against': test})
    tests = [row['against'] for row in rows if row['against'] is not None]
    for test, adjusted in zip(tests, holm([test['p'] for test in tests]), strict=True):
        test['p_holm'] = adjusted
    return rows


def _score(by_seed: Mapping[int, Sequence[Line]], seeds: Sequence[int], metric: str, split: str) -> Scores:
    return score([by_seed[seed] for seed in seeds], metric, split)
