"""Line charts as inline SVG: axes, shaded phases, gaps, a moving average, and a read-out under the pointer.

Colours, fonts and the pointer's read-out are CSS (`templates/report.css`): no script, nothing is fetched.
"""

import html
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

Point = tuple[float, float | None]

WIDTH, HEIGHT = 480, 236
LEFT, RIGHT, TOP, BOTTOM = 48, 10, 24, 24
PLOT_RIGHT, PLOT_BOTTOM = WIDTH - RIGHT, HEIGHT - BOTTOM
READOUTS = 96
BESIDE = 3  # so many values are read out beside each other


class Series(NamedTuple):
    """One curve.

    Attributes:
      name: shown in the legend, if there are several, and in the read-out.
      points: (step, value), by step; None breaks the line.
      color: number of the colour in the style sheet, 0 to 8.
      dashed: drawn dashed and never averaged (a reference such as chance).
      marked: points drawn as dots (few of them).
      smooth: the values drawn faintly, their moving average on top.
      dash: number of the pattern in the style sheet, 0 (a full line) to 2; tells curves apart without their colour.
      faint: drawn thin and left out of legend and read-out (one of many that another curve stands for).
    """

    name: str
    points: Sequence[Point]
    color: int = 0
    dashed: bool = False
    marked: bool = False
    smooth: bool = False
    dash: int = 0
    faint: bool = False

    @property
    def style(self) -> str:
        """Its classes in the style sheet."""
        dash = ' dashed' if self.dashed else f' d{self.dash}' if self.dash else ''
        return f's{self.color}{dash}{" faint" if self.faint else ""}'


class Axis(NamedTuple):
    """What the horizontal axis counts: its name in the read-out, and whether in whole numbers."""

    name: str = 'step'
    whole: bool = True

    def text(self, value: float) -> str:
        """A value on the axis."""
        return f'{value:,.0f}' if self.whole else number(value)


STEPS = Axis()


class Band(NamedTuple):
    """A phase: steps `start` to `end`, shaded in colour number `color`."""

    start: float
    end: float
    name: str
    color: int


class Mark(NamedTuple):
    """A vertical line at `step`, with its name."""

    step: float
    name: str


class Scale(NamedTuple):
    """An axis: maps `low`..`high` linearly, or by the logarithm, to pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        place = math.log(max(value, self.low)) if self.log else value
        return self.start + (place - low) / (high - low) * (self.end - self.start)


def line_chart(
    title: str,
    series: Sequence[Series],
    bands: Sequence[Band],
    extent: tuple[float, float],
    *,
    note: str = '',
    percent: bool = False,
    zero: bool = False,
    marks: Sequence[Mark] = (),
    axis: Axis = STEPS,
    legend: bool = True,
) -> str:
    """A `<figure>` with title, legend and chart.

    Args:
      title: heading.
      series: curves; each has at least one value.
      bands: phases, left to right.
      extent: first and last value of the horizontal axis, the same for all charts of a run.
      note: remark beside the title.
      percent: values are fractions, shown in percent.
      zero: the vertical axis starts at 0.
      marks: steps to point out.
      axis: what the horizontal axis counts.
      legend: several curves are named beside the title; without it, in the read-out alone.
    """
    values = [value for one in series for _, value in one.points if value is not None]
    named = [one for one in series if not one.faint]
    x = Scale(extent[0], max(extent[1], extent[0] + (1 if axis.whole else 1e-6)), LEFT, PLOT_RIGHT)
    y, ticks = vertical_axis(values, zero, percent)
    parts = [
        *(_band(band, x) for band in bands),
        *(value_tick(tick, y, percent) for tick in ticks),
        *(_step_tick(tick, x, axis) for tick in nice_ticks(x.low, x.high, 5, whole=axis.whole)),
        *(_mark(mark, x) for mark in marks),
        *(_curve(one, x, y) for one in series),
        *_readouts(named, x, y, percent, axis),
    ]
    label = html.escape(f'{title}: ' + ', '.join(one.name for one in named), quote=True)
    return (
        f'<figure class="chart"><figcaption><h3>{html.escape(title)}</h3>'
        f'<span class="note">{html.escape(note)}</span>{line_legend(named) if legend else ""}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg></figure>'
    )


def nice_ticks(low: float, high: float, count: int, whole: bool = False) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten apart) from `low` to `high`, both inside.

    >>> nice_ticks(0, 1040, 5)
    [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0]
    """
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    distance = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.7)
    distance = max(distance, 1.0) if whole else distance
    first, last = math.ceil(low / distance - 1e-9), math.floor(high / distance + 1e-9)
    return [index * distance for index in range(first, last + 1)]


def number(value: float, percent: bool = False) -> str:
    """A value for people: three or four digits, thousands grouped, percent signs."""
    if percent:
        return f'{100 * value:.1f}%'
    if value and (abs(value) < 1e-2 or abs(value) >= 1e6):
        mantissa, _, exponent = f'{value:.2e}'.partition('e')
        return f'{mantissa.rstrip("0").rstrip(".")}e{int(exponent)}'
    text = f'{value:,.{max(0, min(4, 3 - math.floor(math.log10(abs(value) or 1))))}f}'
    return text.rstrip('0').rstrip('.') if '.' in text else text


def shorten(text: str, length: int) -> str:
    """At most `length` characters: a label in a chart cannot wrap."""
    return text if len(text) <= length else f'{text[: length - 1].rstrip()}…'


def moving_average(points: Sequence[Point], window: int) -> list[Point]:
    """Each value averaged with its neighbours, `window` in all, fewer at the ends."""
    values = [value for _, value in points if value is not None]
    sums = list(itertools.accumulate(values, initial=0.0))
    result: list[Point] = []
    for index, (step, _) in enumerate(points):
        first, last = max(index - window // 2, 0), min(index + window // 2 + 1, len(values))
        result.append((step, (sums[last] - sums[first]) / (last - first)))
    return result


def vertical_axis(values: Sequence[float], zero: bool, percent: bool) -> tuple[Scale, list[float]]:
    """The vertical axis, logarithmic for positive values that span more than a factor of 30, and its ticks."""
    low, high = min(values), max(values)
    if low > 0 and high / low > 30 and not zero:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        factors = (1,) if len(powers) > 4 else (1, 3)
        ticks = [10.0**power * factor for power in powers for factor in factors]
        scale = Scale(low / 1.15, high * 1.15, PLOT_BOTTOM, TOP, log=True)
        return scale, [tick for tick in ticks if scale.low <= tick <= scale.high]
    low = min(low, 0.0) if zero else low
    room = (high - low) * 0.05 or abs(high) * 0.1 or (0.01 if percent else 1.0)
    scale = Scale(low if zero and low == 0 else low - room, high + room, PLOT_BOTTOM, TOP)
    return scale, nice_ticks(scale.low, scale.high, 5)


def _band(band: Band, x: Scale) -> str:
    left, right = x(max(band.start, x.low)), x(min(band.end, x.high))
    middle = (left + right) / 2
    # A name that does not fit its band is left to the legend of phases.
    fits = right - left > 6.2 * len(band.name) + 6
    name = f'<text class="phase" x="{middle:.1f}" y="{TOP - 8}">{html.escape(band.name)}</text>' if fits else ''
    width = max(right - left, 0)
    shade = f'<rect class="b{band.color}" x="{left:.1f}" y="{TOP}" width="{width:.1f}" height="{PLOT_BOTTOM - TOP}"/>'
    return shade + name


def value_tick(tick: float, y: Scale, percent: bool) -> str:
    """A line across the chart and its value on the vertical axis."""
    text = f'{round(100 * tick, 6):g}%' if percent else number(tick)
    return (
        f'<path class="grid" d="M{LEFT} {y(tick):.1f}H{PLOT_RIGHT}"/>'
        f'<text class="tick y" x="{LEFT - 6}" y="{y(tick) + 4:.1f}">{text}</text>'
    )


def _step_tick(tick: float, x: Scale, axis: Axis) -> str:
    edge = ' end' if x(tick) > PLOT_RIGHT - 14 else ''
    return (
        f'<path class="grid" d="M{x(tick):.1f} {PLOT_BOTTOM}v4"/>'
        f'<text class="tick x{edge}" x="{x(tick):.1f}" y="{HEIGHT - 6}">{axis.text(tick)}</text>'
    )


def _mark(mark: Mark, x: Scale) -> str:
    place = x(mark.step)
    side = 'end' if place > (LEFT + PLOT_RIGHT) / 2 else 'start'
    offset = -5 if side == 'end' else 5
    return (
        f'<path class="mark" d="M{place:.1f} {TOP}V{PLOT_BOTTOM}"/>'
        f'<text class="mark {side}" x="{place + offset:.1f}" y="{TOP + 13}">{html.escape(mark.name)}</text>'
    )


def _curve(series: Series, x: Scale, y: Scale) -> str:
    segments = _segments(series.points)
    style = series.style
    count = sum(len(segment) for segment in segments)
    window = max(count // 40, 1) * 2 + 1
    if series.smooth and count > 30:
        faint = ''.join(_path(segment, x, y) for segment in segments)
        bold = ''.join(_path(moving_average(segment, window), x, y) for segment in segments)
        return f'<path class="line faint {style}" d="{faint}"/><path class="line {style}" d="{bold}"/>'
    path = f'<path class="line {style}" d="{"".join(_path(segment, x, y) for segment in segments)}"/>'
    alone = [segment[0] for segment in segments if len(segment) == 1]
    dots = [point for segment in segments for point in segment] if series.marked else alone
    return path + ''.join(_dot(step, value, series, x, y) for step, value in dots if value is not None)


def _dot(step: float, value: float, series: Series, x: Scale, y: Scale) -> str:
    return f'<circle class="dot s{series.color}" cx="{x(step):.1f}" cy="{y(value):.1f}" r="3"/>'


def _path(points: Sequence[Point], x: Scale, y: Scale) -> str:
    return 'M' + 'L'.join(f'{x(step):.1f} {y(value):.1f}' for step, value in points if value is not None)


def _segments(points: Sequence[Point]) -> list[list[Point]]:
    groups = itertools.groupby(points, key=lambda point: point[1] is None)
    return [list(group) for missing, group in groups if not missing]


def _readouts(series: Sequence[Series], x: Scale, y: Scale, percent: bool, axis: Axis) -> list[str]:
    """Invisible strips side by side: the one under the pointer shows a line, dots, and the values in words."""
    table: dict[float, list[tuple[Series, float]]] = {}
    for one in series:
        for step, value in one.points:
            if value is not None:
                table.setdefault(step, []).append((one, value))
    steps = sorted(table)
    stride = max(math.ceil(len(steps) / READOUTS), 1)
    steps = steps[::stride] if (len(steps) - 1) % stride == 0 else [*steps[::stride], steps[-1]]
    edges = [x.start, *((x(a) + x(b)) / 2 for a, b in itertools.pairwise(steps)), x.end]
    strips = []
    for step, (left, right) in zip(steps, itertools.pairwise(edges), strict=True):
        words = _box if len(series) > BESIDE else _words
        strips.append(
            f'<g class="hit"><rect x="{left:.1f}" y="{TOP}" width="{max(right - left, 0.5):.1f}" '
            f'height="{PLOT_BOTTOM - TOP}"/>'
            f'<g class="tip"><path d="M{x(step):.1f} {TOP}V{PLOT_BOTTOM}"/>'
            + ''.join(_dot(step, value, one, x, y) for one, value in table[step])
            + words(f'{axis.name} {axis.text(step)}', table[step], x(step), percent)
            + '</g></g>'
        )
    return strips


def _words(place: str, values: Sequence[tuple[Series, float]], x: float, percent: bool) -> str:
    """The values in one line above the chart."""
    texts = (f'{one.name} {number(value, percent)}'.strip() for one, value in values)
    side = 'end' if x > (LEFT + PLOT_RIGHT) / 2 else 'start'
    edge = PLOT_RIGHT if side == 'end' else LEFT
    return f'<text class="{side}" x="{edge}" y="{TOP - 8}">{html.escape(" · ".join([place, *texts]))}</text>'


def _box(place: str, values: Sequence[tuple[Series, float]], x: float, percent: bool) -> str:
    """Many values below each other, in a box on the other side of the pointer."""
    texts = [f'{number(value, percent)}  {shorten(one.name, 30)}' for one, value in values]
    width = 6.3 * max(map(len, [place, *texts])) + 34
    left = LEFT + 4 if x > (LEFT + PLOT_RIGHT) / 2 else PLOT_RIGHT - width - 4
    lines = ''.join(
        f'<path class="line {one.style}" d="M{left + 6:.1f} {TOP + 24 + 14 * row}h18"/>'
        f'<text x="{left + 29:.1f}" y="{TOP + 28 + 14 * row}">{html.escape(text)}</text>'
        for row, ((one, _), text) in enumerate(zip(values, texts, strict=True))
    )
    return (
        f'<g class="box"><rect x="{left:.1f}" y="{TOP}" width="{width:.1f}" height="{14 * len(values) + 22}" rx="4"/>'
        f'<text x="{left + 6:.1f}" y="{TOP + 14}">{html.escape(place)}</text>{lines}</g>'
    )


def line_legend(series: Sequence[Series]) -> str:
    """The names of several curves, each with a piece of its line; nothing for one that needs no name."""
    if len(series) < 2:
        return ''
    keys = (
        f'<span><svg class="key" viewBox="0 0 24 8" aria-hidden="true"><path class="line {one.style}" d="M0 4H24"/>'
        f'</svg>{html.escape(one.name)}</span>'
        for one in series
    )
    return f'<span class="legend">{"".join(keys)}</span>'
