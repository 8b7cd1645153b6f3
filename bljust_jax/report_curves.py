"""The curves of the report: which keys of `metrics.jsonl` become which charts."""

import itertools
from collections.abc import Iterator
from typing import Any

from bljust_jax.report_charts import Band, Mark, Point, Series, line_chart
from bljust_jax.report_sections import Run, escape, missing
from bljust_jax.run_log import Spent

COLORS = 4
MOST_BANDS = 60


def curves(run: Run) -> str:
    """The section with all charts, on one axis of steps, phases shaded."""
    heading = '<h2>Training</h2>'
    if not run.lines:
        return heading + missing('No curves yet.', 'Nothing has been logged so far.')
    panels = _Panels(run)
    charts, absent = panels.charts()
    others = panels.others()
    more = (
        f'<details><summary>Further metrics ({len(others)})</summary>'
        f'<div class="charts">{"".join(others)}</div></details>'
        if others
        else ''
    )
    return (
        f'{heading}<p class="hint">Over training steps. Thick lines are moving averages of the faint ones; point at a '
        f'chart to read its values.</p>{_phase_legend(panels.bands)}<div class="charts">{"".join(charts)}</div>'
        f'{"".join(absent)}{more}'
    )


def phases(lines: list[dict[str, Any]]) -> list[Band]:
    """The stretches of steps in one phase: a line belongs to the steps since the line before it."""
    training = [line for line in lines if line.get('phase')]
    colors: dict[str, int] = {}
    bands = []
    start = 0
    for name, group in itertools.groupby(training, key=lambda line: str(line['phase'])):
        end = list(group)[-1]['step']
        if end > start:
            bands.append(Band(start, end, name, colors.setdefault(name, len(colors) % COLORS)))
        start = end
    return bands


def curve(lines: list[dict[str, Any]], key: str) -> list[Point]:
    """The values of `key`, None where training went on without it (its level paused); the last of a step counts."""
    points: dict[int, float | None] = {}
    for line in lines:
        if key in line:
            points[line['step']] = line[key]
        elif any(name.startswith('loss/') for name in line):
            points.setdefault(line['step'], None)
    return sorted(points.items()) if any(value is not None for value in points.values()) else []


class _Panels:
    """The charts of one run: they share the axis of steps and the phases, and note which keys they have shown."""

    def __init__(self, run: Run) -> None:
        self._run = run
        bands = phases(run.lines)
        self.bands = bands if len(bands) <= MOST_BANDS else []
        self._extent = (0, max(line['step'] for line in run.lines))
        self._shown = {'step', 'phase', *Spent._fields}

    def charts(self) -> tuple[list[str], list[str]]:
        """The charts there is something to draw in, and a line for each kind there is not."""
        charts: list[str] = []
        absent: list[str] = []
        for panels, what, why in (
            (self._errors(), 'No error rates.', 'The model has not been evaluated yet.'),
            (self._losses(), 'No losses.', 'None has been logged yet.'),
            (
                self._penalty(),
                'No penalty.',
                'Its γ, the value gap and how the gradients agree are logged where levels are trained jointly.',
            ),
            (self._accuracies(), 'No accuracy.', 'It belongs to unsupervised objectives, and none has been logged.'),
            (self._rates(), 'No learning rate.', 'None has been logged yet.'),
        ):
            drawn = list(panels)
            charts += drawn
            absent += [] if drawn else [missing(what, why)]
        return charts, absent

    def others(self) -> list[str]:
        """A small chart of each remaining number."""
        keys = dict.fromkeys(key for line in self._run.lines for key in line if key not in self._shown)
        numeric = [key for key in keys if all(_is_number(line.get(key)) for line in self._run.lines)]
        return [
            self._draw(key, [Series('', points, smooth=True)], marks=self._trips(key))
            for key in numeric
            if (points := self._points(key))
        ]

    def _errors(self) -> Iterator[str]:
        best = self._run.summary.get('best_step')
        splits = {key.partition('/')[2] for line in self._run.lines for key in line if key.startswith(('wer/', 'cer/'))}
        for split in sorted(splits):
            rates = [(rate.upper(), self._evaluated(f'{rate}/{split}')) for rate in ('wer', 'cer')]
            series = [Series(name, points, i, marked=True) for i, (name, points) in enumerate(rates) if points]
            marks = [] if best is None else [Mark(best, 'best')]
            if series:
                yield self._draw(f'Error rates on {split}', series, percent=True, zero=True, marks=marks)

    def _losses(self) -> Iterator[str]:
        for index, level in enumerate(self._run.levels):
            if points := self._points(f'loss/{level}'):
                series = Series('', points, index % COLORS, smooth=True)
                marks = self._trips(f'loss/{level}')
                yield self._draw(f'Loss, {level}', [series], note=self._objective(level), marks=marks)

    def _penalty(self) -> Iterator[str]:
        """γ and what the penalty has seen of losses and gradients, all of it on the shared encoder."""
        yield from self._lower('gamma', 'Penalty γ', zero=True)
        yield from self._lower('value_gap', 'Value gap', note='loss − estimate of its optimum', smooth=True)
        yield from self._lower('grad_cosine', 'Gradient cosine', note='with that of the upper level', smooth=True)
        shares = [
            Series(level, points, index % COLORS, smooth=True)
            for index, level in enumerate(self._run.levels)
            if (points := self._points(f'update_share/{level}'))
        ]
        if shares:
            note = 'weight × gradient norm'
            yield self._draw('Share of the update', shares, note=note, percent=True, zero=True)
        if points := self._points('stationarity'):
            yield self._draw('Stationarity', [Series('', points, smooth=True)], note='norm of the encoder’s direction')

    def _lower(
        self, key: str, title: str, *, note: str = '', zero: bool = False, smooth: bool = False
    ) -> Iterator[str]:
        for index, level in list(enumerate(self._run.levels))[1:]:
            if points := self._points(f'{key}/{level}'):
                series = Series('', points, index % COLORS, smooth=smooth)
                yield self._draw(f'{title}, {level}', [series], note=note, zero=zero)

    def _accuracies(self) -> Iterator[str]:
        for index, level in enumerate(self._run.levels):
            series = [
                Series('accuracy', self._points(f'accuracy/{level}'), index % COLORS, smooth=True),
                Series('chance', self._points(f'chance/{level}'), (index + 1) % COLORS, dashed=True),
            ]
            if series[0].points:
                drawn = [one for one in series if one.points]
                note, marks = self._objective(level), self._trips(f'accuracy/{level}')
                yield self._draw(f'Accuracy, {level}', drawn, note=note, percent=True, zero=True, marks=marks)

    def _rates(self) -> Iterator[str]:
        keys = dict.fromkeys(key for line in self._run.lines for key in line if key.split('/')[0] == 'learning_rate')
        named = [(key.partition('/')[2], self._points(key)) for key in keys]
        series = [Series(name, points, i % COLORS) for i, (name, points) in enumerate(named) if points]
        if series:
            yield self._draw('Learning rate', series, zero=True)

    def _points(self, key: str) -> list[Point]:
        self._shown.add(key)
        return curve(self._run.lines, key)

    def _evaluated(self, key: str) -> list[Point]:
        """Evaluations are few and far between: joined over the training in between."""
        return [(step, value) for step, value in self._points(key) if value is not None]

    def _trips(self, key: str) -> list[Mark]:
        """The steps at which guards tripped that look at the metric `key`, or at its level if it is a loss."""
        names: dict[int, list[str]] = {}
        for trip in self._run.trips:
            if key in (f'loss/{trip.level}', *(f'{metric}/{trip.level}' for metric in trip.guard.metrics)):
                names.setdefault(trip.step, []).append(trip.guard.name)
        return [Mark(step, f'guard: {", ".join(tripped)}') for step, tripped in names.items()]

    def _objective(self, level: str) -> str:
        return str(self._run.config.get('levels', {}).get(level, {}).get('objective', ''))

    def _draw(self, title: str, series: list[Series], **options: Any) -> str:
        return line_chart(title, series, self.bands, self._extent, **options)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _phase_legend(bands: list[Band]) -> str:
    names = dict.fromkeys((band.name, band.color) for band in bands)
    if not names:
        return ''
    keys = ''.join(f'<span><i class="b{color}"></i>{escape(name)}</span>' for name, color in names)
    return f'<p class="phases">Phases {keys}</p>'
