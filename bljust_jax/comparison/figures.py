"""The figures of a comparison, each a `<figure>` with inline SVG; `standalone` makes them fit for a notebook.

In a notebook: `HTML(standalone(interval_figure(load_outcome('runs/comparison').results, 'test', 'cer')))`.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bljust_jax.comparison.charts import Dot, Interval, Swept, interval_plot, scatter, sweep_plot
from bljust_jax.comparison.reading import (
    Outcome,
    Results,
    arms,
    cells,
    dev_split,
    excludes_zero,
    find_row,
    main_metric,
    metrics,
    ranked,
    relative,
    signed,
)
from bljust_jax.metrics import ErrorRates, error_rates
from bljust_jax.report import template
from bljust_jax.report_charts import STEPS, Axis, Point, Series, line_chart, line_legend, moving_average
from bljust_jax.report_curves import curve
from bljust_jax.report_sections import Run, by_interest
from bljust_jax.strategies import UPPER

COLORS, DASHES = 9, 3
POINTS = 150

Curve = list[tuple[float, float]]


def standalone(*figures: str) -> str:
    """The figures side by side with the style sheet that they need, for `IPython.display.HTML`."""
    return f'<style>{template("charts.css")}</style><div class="charts">{"".join(figures)}</div>'


def interval_figure(results: Results, split: str, metric: str) -> str:
    """Relative differences to the reference with their intervals, best first; '' if there are none on `split`.

    An arm is left out where the reference made no errors, or there is no interval.
    """
    rows = [
        _interval(results, row)
        for arm in ranked(results)
        if (row := find_row(results, arm, split, metric)) and (against := row.get('against'))
        if against['relative'] is not None and against['interval'] is not None
    ]
    if not rows:
        return ''
    return interval_plot(
        f'{metric.upper()} on {split}', rows, zero=str(results['reference']), note='relative difference'
    )


def curve_figures(outcome: Outcome, *, legend: bool = True) -> list[str]:
    """Every curve that arms can be compared by: error rates on dev over steps and over labelled hours, and losses."""
    split = dev_split(outcome.results)
    rates = [f'{metric}/{split}' for metric in metrics(outcome.results)]
    logged = {key for run in outcome.runs.values() for line in run.lines for key in line}
    losses = sorted((key for key in logged if key.startswith('loss/')), key=lambda key: (key != f'loss/{UPPER}', key))
    figures = [
        *(curve_figure(outcome, key, legend=legend) for key in rates),
        *(curve_figure(outcome, key, over_hours=True, legend=legend) for key in rates[:1]),
        *(curve_figure(outcome, key, legend=legend) for key in losses),
    ]
    return [one for one in figures if one]


def curve_figure(outcome: Outcome, key: str, *, over_hours: bool = False, legend: bool = True) -> str:
    """A key of `metrics.jsonl` in all arms: the mean over seeds, and thin lines for each seed.

    The mean is taken of finished runs (of all, if none is), where all of them have a value. Losses are smoothed first.

    Args:
      outcome: results and runs.
      key: such as `cer/dev`, a rate, or `loss/unsup`.
      over_hours: over the labelled hours seen so far instead of steps; only finished runs know them.
      legend: the arms are named beside the title.

    Returns:
      The figure, '' if nothing has been logged under `key`.
    """
    series: list[Series] = []
    for index, arm in enumerate(arms(outcome.results)):
        seeds = {
            cell['seed']: points
            for cell in cells(outcome.results, arm)
            if (points := _curve(outcome.runs[arm, cell['seed']], key))
        }
        if over_hours:
            hours = {cell['seed']: _labelled_hours(cell) for cell in cells(outcome.results, arm)}
            seeds = {
                seed: _over_hours(points, outcome.runs[arm, seed], total)
                for seed, points in seeds.items()
                if (total := hours[seed])
            }
        finished = [points for seed, points in seeds.items() if seed in outcome.finished(arm)]
        if len(seeds) > 1:
            series += [_series(arm, index, list(points.values()))._replace(faint=True) for points in seeds.values()]
        if mean := mean_curve(finished or list(seeds.values())):
            series.append(_series(arm, index, mean))
    if not series:
        return ''
    extent = (0, max(step for one in series for step, _ in one.points))
    kind, _, name = key.partition('/')
    rate = kind != 'loss'
    notes = ['over labelled hours seen' if over_hours else '' if rate else _objectives(outcome, name)]
    if rate and (ceiling := _ceiling(series)) < max(value for one in series for _, value in one.points if value):
        series = [one._replace(points=_below(one.points, ceiling)) for one in series]
        notes.append(f'what is above {100 * ceiling:.0f}% is left out')
    return line_chart(
        f'{kind.upper()} on {name}' if rate else f'Loss, {name}',
        sorted(series, key=lambda one: not one.faint),
        [],
        extent,
        note=', '.join(filter(None, notes)),
        percent=rate,
        axis=Axis('labelled hours', whole=False) if over_hours else STEPS,
        legend=legend,
    )


def mean_curve(curves: Sequence[Mapping[float, tuple[float, float]]]) -> Curve:
    """The mean of (place, value) by step, at the steps that all the curves have."""
    shared = sorted(set.intersection(*map(set, curves))) if curves else []
    return [tuple(np.mean([one[step] for one in curves], axis=0).tolist()) for step in shared]


def arm_legend(results: Results) -> str:
    """The colour and the dashes of each arm."""
    return line_legend([_series(arm, index, []) for index, arm in enumerate(arms(results))])


def speaker_figures(outcome: Outcome) -> list[str]:
    """A panel for each arm: every speaker's rate against the reference's, on a common scale; none without speakers."""
    reference, metric = str(outcome.results['reference']), main_metric(outcome.results)
    panels = []
    for arm in ranked(outcome.results):
        if arm != reference and (pairs := speaker_rates(outcome, arm)):
            split, rates = pairs
            dots = [
                Dot(speaker, getattr(theirs, metric), getattr(ours, metric), theirs.words)
                for speaker, (ours, theirs) in rates.items()
            ]
            panels.append((arm, split, dots))
    if not panels:
        return []
    rates_shown = [rate for _, _, dots in panels for dot in dots for rate in (dot.x, dot.y)]
    room = 0.12 * (max(rates_shown) - min(rates_shown)) or 0.01
    extent = (max(min(rates_shown) - room, 0.0), max(rates_shown) + room)
    return [
        scatter(
            arm,
            dots,
            color=arms(outcome.results).index(arm) % COLORS,
            extent=extent,
            across=f'{metric.upper()} of {reference}',
            note=f'{split}: lower for {sum(dot.y < dot.x for dot in dots)} of {len(dots)} speakers',
        )
        for arm, split, dots in panels
    ]


def speaker_rates(outcome: Outcome, arm: str) -> tuple[str, dict[str, tuple[ErrorRates, ErrorRates]]] | None:
    """The rates of the arm and of the reference by speaker, over the seeds that both have finished.

    On the first split (test before dev) with at least two speakers; None if there is none.
    """
    ours, theirs = outcome.finished(arm), outcome.finished(str(outcome.results['reference']))
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    for split in by_interest(ours[seeds[0]].hypotheses):
        mine, other = (_by_speaker([runs[seed] for seed in seeds], split) for runs in (ours, theirs))
        shared = sorted(mine.keys() & other.keys())
        if len(shared) > 1:
            return split, {speaker: (mine[speaker], other[speaker]) for speaker in shared}
    return None


def sweep_figures(results: Results) -> list[str]:
    """Error rates on dev over the swept value, a figure for each rate; none without a sweep or a finished cell."""
    if not results.get('sweep'):
        return []
    field = results['sweep']['field']
    return [one for metric in metrics(results) if (one := _sweep(results, field, metric))]


def _interval(results: Results, row: Mapping[str, Any]) -> Interval:
    against = row['against']
    # A difference of exactly zero does not tell what it is relative to.
    scale = against['relative'] / against['difference'] if against['difference'] else 1 / max(row['mean'], 1e-9)
    inner = [end * scale for end in against['interval']]
    speakers = against.get('speaker_interval')
    return Interval(
        name=row['arm'],
        color=arms(results).index(row['arm']) % COLORS,
        text=f'{relative(against["relative"])}  [{signed(inner[0], 1)}, {signed(inner[1], 1)}]',
        value=against['relative'],
        inner=inner,
        outer=[end * scale for end in speakers] if speakers else None,
        clear=excludes_zero(against['interval']),
    )


def _curve(run: Run, key: str) -> dict[float, tuple[float, float]]:
    """(step, value) by step."""
    points: list[Point] = [(step, value) for step, value in curve(run.lines, key) if value is not None]
    if key.startswith('loss/') and len(points) > 30:
        points = moving_average(points, len(points) // 40 * 2 + 1)
    return {step: (step, value) for step, value in points if value is not None}


def _over_hours(
    points: Mapping[float, tuple[float, float]], run: Run, total: float
) -> dict[float, tuple[float, float]]:
    """(labelled hours, value) by step: `total` spread evenly over the stretches of the log with a supervised loss."""
    logged = [line for line in run.lines if line.get('phase')]
    ends = [0, *(line['step'] for line in logged)]
    spent = [
        end - start if f'loss/{UPPER}' in line else 0
        for (start, end), line in zip(itertools.pairwise(ends), logged, strict=True)
    ]
    seen = np.array([0, *itertools.accumulate(spent)], float)
    hours = np.interp(list(points), ends, seen * total / max(seen[-1], 1)).tolist()
    return {step: (hour, value) for hour, (step, (_, value)) in zip(hours, points.items(), strict=True)}


def _ceiling(series: Sequence[Series]) -> float:
    """Half as much again as the highest rate that a curve ends with: the fall from 100% would dwarf the differences."""
    return 1.5 * max(one.points[-1][1] or 0.0 for one in series)


def _below(points: Sequence[Point], ceiling: float) -> list[Point]:
    return [(step, value if value is not None and value <= ceiling else None) for step, value in points]


def _labelled_hours(cell: Mapping[str, Any]) -> float | None:
    return (cell.get('budget') or {}).get('labelled_hours')


def _series(arm: str, index: int, points: Curve) -> Series:
    """The curve of arm number `index`, thinned out: 27 arms differ in colour or dashes."""
    stride = max(len(points) // POINTS, 1)
    kept = [*points[:-1:stride], *points[-1:]]
    return Series(arm, kept, index % COLORS, dash=(index + index // COLORS) % DASHES)


def _objectives(outcome: Outcome, level: str) -> str:
    """The objectives of a level: losses of different ones are not to be compared."""
    configs = (run.config.get('levels', {}).get(level) or {} for run in outcome.runs.values())
    names = sorted({str(config['objective']) for config in configs if config.get('objective')})
    return names[0] if len(names) == 1 else f'objectives differ: {", ".join(names)}' if names else ''


def _by_speaker(runs: Sequence[Run], split: str) -> dict[str, ErrorRates]:
    texts: dict[str, tuple[list[str], list[str]]] = {}
    for utterance in (one for run in runs for one in run.hypotheses.get(split, ()) if one.speaker):
        references, hypotheses = texts.setdefault(utterance.speaker, ([], []))
        references.append(utterance.reference)
        hypotheses.append(utterance.hypothesis)
    return {speaker: error_rates(*pair) for speaker, pair in texts.items()}


def _sweep(results: Results, field: str, metric: str) -> str:
    """One curve for each arm that was swept: cells that differ in nothing but `field`."""
    split = dev_split(results)
    groups: dict[str, tuple[str, dict[Any, list[float]]]] = {}
    for cell in cells(results, state='finished'):
        if field in cell['overrides'] and metric in (cell.get(split) or {}):
            others = {name: value for name, value in cell['overrides'].items() if name != field}
            name = cell['arm'].rpartition(f' {field.rpartition(".")[2]}=')[0] or cell['strategy']
            _, rates = groups.setdefault(json.dumps(others, sort_keys=True), (name, {}))
            rates.setdefault(cell['overrides'][field], []).append(cell[split][metric])
    curves = [Swept(name, index % COLORS, list(rates.items())) for index, (name, rates) in enumerate(groups.values())]
    names = ', '.join(curve.name for curve in curves)
    return sweep_plot(f'{metric.upper()} on {split} over {field}', curves, note=names) if curves else ''
