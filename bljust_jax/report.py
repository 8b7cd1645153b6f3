"""The report of a run: one HTML file that opens anywhere, offline.

    python -m bljust_jax.report --workdir=DIR

writes `DIR/report.html` from what the run has written so far (`config.json`, `metrics.jsonl`, `summary.json` and
`hypotheses/<split>.jsonl`); whatever is not there yet is left out, with a line that says so.
"""

import html
import json
import os
import string
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

from absl import flags, logging

from bljust_jax import cli, report_curves, report_sections
from bljust_jax.errors import UserError
from bljust_jax.files import write_atomically
from bljust_jax.run_log import METRICS_FILE, read_metrics

REPORT_FILE = 'report.html'


def write_report(workdir: str | os.PathLike[str]) -> Path:
    """Writes the report of the run in `workdir`, finished or not, and returns its path.

    Raises:
      UserError: if there is no run in `workdir`, or one of its files is damaged.
    """
    workdir = Path(workdir)
    if not any((workdir / name).exists() for name in ('config.json', METRICS_FILE, 'summary.json')):
        if (workdir / 'results.json').exists():
            raise UserError(f'{workdir} is a comparison: python -m bljust_jax.comparison.report --workdir={workdir}.')
        raise UserError(f'There is no run in {workdir}: give the --workdir that it was trained with.')
    path = workdir / REPORT_FILE
    write_atomically(path, render(load_run(workdir)))
    return path


def load_run(workdir: Path) -> report_sections.Run:
    """Reads what there is of a run."""
    metrics = workdir / METRICS_FILE
    return report_sections.Run(
        folder=workdir.resolve().name,
        config=read_object(workdir / 'config.json'),
        lines=read_metrics(metrics) if metrics.exists() else [],
        summary=read_object(workdir / 'summary.json'),
        hypotheses={path.stem: _read_hypotheses(path) for path in sorted((workdir / 'hypotheses').glob('*.jsonl'))},
    )


def render(run: report_sections.Run) -> str:
    """The whole page."""
    sections = (
        report_sections.headline(run),
        report_sections.scores(run),
        report_curves.curves(run),
        report_sections.guards(run),
        report_sections.samples(run),
        report_sections.budget(run),
        report_sections.configuration(run),
    )
    return page(report_sections.title(run), sections, run.folder)


def page(title: str, sections: Iterable[str], folder: str) -> str:
    """A page of `sections`, which are HTML; `title` and the name of the `folder` are plain text."""
    return string.Template(template('report.html')).substitute(
        title=html.escape(title),
        style=template('report.css') + template('charts.css'),
        body='\n'.join(sections),
        folder=html.escape(folder),
    )


def template(name: str) -> str:
    """The text of a file in `templates/`."""
    return resources.files('bljust_jax').joinpath('templates', name).read_text(encoding='utf-8')


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in `path`, empty if there is no such file.

    Raises:
      UserError: if it is damaged.
    """
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise UserError(f'{path} is damaged: {error}.') from error
    if not isinstance(value, dict):
        raise UserError(f'{path} must hold a JSON object, not a {type(value).__name__}.')
    return value


def _read_hypotheses(path: Path) -> list[report_sections.Utterance]:
    utterances = []
    for number, line in enumerate(path.read_text(encoding='utf-8').split('\n'), 1):
        if line.strip():
            try:
                utterances.append(report_sections.Utterance.parse(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UserError(f'Line {number} of {path} is damaged: evaluate the run again.') from error
    return utterances


def main(argv: list[str]) -> None:
    """Writes the report of `--workdir`."""
    cli.refuse_arguments(argv)
    logging.info('Wrote %s', write_report(Path(_WORKDIR.value).expanduser()))


if __name__ == '__main__':
    _WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run.', required=True)
    cli.run(main)
