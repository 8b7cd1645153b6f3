"""Interval plots and scatter plots as inline SVG, in the style of `report_charts`."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from bljust_jax.comparison.reading import breakable
from bljust_jax.report_charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    PLOT_BOTTOM,
    PLOT_RIGHT,
    RIGHT,
    TOP,
    WIDTH,
    Scale,
    nice_ticks,
    shorten,
    value_tick,
    vertical_axis,
)
from bljust_jax.report_sections import escape

ROW = 37
SQUARE = 300


class Interval(NamedTuple):
    """One row of an interval plot: a dot at `value`, a bar `inner` and a thin line `outer`, if they are known.

    Attributes:
      clear: drawn full; an interval that decides nothing is drawn faintly.
    """

    name: str
    color: int
    text: str
    value: float
    inner: Sequence[float]
    outer: Sequence[float] | None
    clear: bool


class Dot(NamedTuple):
    """One dot of a scatter plot, `weight` being its area."""

    name: str
    x: float
    y: float
    weight: float


class Swept(NamedTuple):
    """One curve of a sweep: the rates (of several seeds) at each value; dots, and a line through their means."""

    name: str
    color: int
    rates: Sequence[tuple[Any, Sequence[float]]]


def figure(title: str, note: str, svg: str, size: tuple[float, float], label: str) -> str:
    """A `<figure>` around the parts of an SVG of `size`; `label` says what is in it."""
    return (
        f'<figure class="chart"><figcaption><h3>{breakable(title)}</h3><span class="note">{escape(note)}</span>'
        f'</figcaption><svg viewBox="0 0 {size[0]} {size[1]}" role="img" aria-label="{escape(f"{title}: {label}")}">'
        f'{svg}</svg></figure>'
    )


def interval_plot(title: str, rows: Sequence[Interval], *, zero: str, note: str = '') -> str:
    """Differences in percent with their intervals, a row each, and what lies at `zero`."""
    ends = [0.0, *(end for row in rows for end in (row.value, *row.inner, *(row.outer or ())))]
    room = 0.06 * (max(ends) - min(ends)) or 0.01
    x = Scale(min(ends) - room, max(ends) + room, RIGHT, PLOT_RIGHT)
    bottom = TOP + ROW * len(rows)
    ticks = ''.join(
        f'<path class="grid" d="M{x(tick):.1f} {TOP}V{bottom}"/>'
        f'<text class="tick x" x="{x(tick):.1f}" y="{bottom + 15}">{_signed(tick)}</text>'
        for tick in nice_ticks(x.low, x.high, 5)
        if RIGHT + 12 < x(tick) < PLOT_RIGHT - 12
    )
    side = 'end' if x(0) > WIDTH / 2 else 'start'
    axis = (
        # Beside the intervals alone: it would strike through the numbers above them.
        f'<path class="zero" d="{"".join(f"M{x(0):.1f} {TOP + ROW * row + 18}v18" for row in range(len(rows)))}"/>'
        f'<text class="{side}" x="{x(0) + (3 if side == "end" else -3):.1f}" y="{TOP - 9}">'
        f'{escape(shorten(zero, 40))}</text>'
    )
    drawn = ''.join(_interval(row, x, TOP + ROW * index) for index, row in enumerate(rows))
    names = ', '.join(row.name for row in rows)
    return figure(title, note, ticks + axis + drawn, (WIDTH, bottom + BOTTOM), names)


def scatter(
    title: str, dots: Sequence[Dot], *, color: int, extent: tuple[float, float], across: str, note: str = ''
) -> str:
    """Rates of the same things twice, those of `across` to the right; what is below the diagonal has become less."""
    x, y = Scale(*extent, LEFT - 8, SQUARE - RIGHT), Scale(*extent, SQUARE - 36, 8)
    heaviest = max(dot.weight for dot in dots)
    ticks = ''.join(
        f'<path class="grid" d="M{x.start} {y(tick):.1f}H{x.end}M{x(tick):.1f} {y.start}V{y.end}"/>'
        f'<text class="tick y" x="{x.start - 5}" y="{y(tick) + 4:.1f}">{round(100 * tick, 6):g}</text>'
        f'<text class="tick x" x="{x(tick):.1f}" y="{y.start + 14:.1f}">{round(100 * tick, 6):g}</text>'
        for tick in nice_ticks(*extent, 4)
        if x(tick) < x.end - 8
    )
    drawn = ''.join(
        f'<circle class="disc s{color}" cx="{x(dot.x):.1f}" cy="{y(dot.y):.1f}" '
        f'r="{max(2.5, 10 * math.sqrt(dot.weight / heaviest)):.1f}"><title>{escape(_tooltip(dot))}</title></circle>'
        for dot in sorted(dots, key=lambda dot: -dot.weight)
    )
    name = f'<text class="end" x="{x.end}" y="{SQUARE - 6}">{escape(shorten(across, 44))} →</text>'
    diagonal = f'<path class="zero" d="M{x.start} {y.start}L{x.end} {y.end}"/>'
    return figure(title, note, ticks + diagonal + drawn + name, (SQUARE, SQUARE), f'against {across}')


def sweep_plot(title: str, curves: Sequence[Swept], *, note: str = '') -> str:
    """Rates over a swept value: a logarithmic axis for numbers over a decade or more, equal steps for words."""
    values = list(dict.fromkeys(value for curve in curves for value, _ in curve.rates))
    place = _places(values)
    y, ticks = vertical_axis([rate for curve in curves for _, rates in curve.rates for rate in rates], False, True)
    parts = [value_tick(tick, y, True) for tick in ticks]
    taken = -math.inf
    for value in sorted(values, key=place.__getitem__):
        text = shorten(f'{value:g}' if _is_number(value) else str(value), 16)
        parts.append(f'<path class="grid" d="M{place[value]:.1f} {PLOT_BOTTOM}v4"/>')
        if place[value] - taken > 3.3 * len(text):
            parts.append(f'<text class="tick x" x="{place[value]:.1f}" y="{HEIGHT - 6}">{escape(text)}</text>')
            taken = place[value] + 3.3 * len(text) + 4
    for curve in curves:
        rates = sorted(curve.rates, key=lambda pair: place[pair[0]])
        means = [(place[value], y(sum(seeds) / len(seeds))) for value, seeds in rates]
        path = 'L'.join(f'{across:.1f} {down:.1f}' for across, down in means)
        parts.append(f'<path class="line s{curve.color}" d="M{path}"/>')
        parts += [
            f'<circle class="disc s{curve.color}" cx="{place[value]:.1f}" cy="{y(rate):.1f}" r="3.2">'
            f'<title>{escape(f"{curve.name} {value}: {100 * rate:.2f}%")}</title></circle>'
            for value, seeds in rates
            for rate in seeds
        ]
    return figure(title, note, ''.join(parts), (WIDTH, HEIGHT), ', '.join(curve.name for curve in curves))


def _interval(row: Interval, x: Scale, top: float) -> str:
    """Name and numbers above, the interval below."""
    middle = top + 26
    outer = f'<path class="outer" d="M{x(row.outer[0]):.1f} {middle}H{x(row.outer[1]):.1f}"/>' if row.outer else ''
    return (
        f'<g class="interval s{row.color}{"" if row.clear else " unclear"}"><title>{escape(row.name)}</title>'
        f'<text class="start" x="{RIGHT}" y="{top + 14}">{escape(shorten(row.name, 40))}</text>'
        f'<text class="end" x="{PLOT_RIGHT}" y="{top + 14}">{escape(row.text)}</text>'
        f'{outer}<path class="inner" d="M{x(row.inner[0]):.1f} {middle}H{x(row.inner[1]):.1f}"/>'
        f'<circle cx="{x(row.value):.1f}" cy="{middle}" r="4.5"/></g>'
    )


def _places(values: Sequence[Any]) -> dict[Any, float]:
    """Where each swept value stands on the horizontal axis."""
    start, end = LEFT + 24, PLOT_RIGHT - 24
    if not all(map(_is_number, values)) or min(values) == max(values):
        return {value: start + (end - start) * (index + 0.5) / len(values) for index, value in enumerate(values)}
    low, high = min(values), max(values)
    scale = Scale(low, high, start, end, log=low > 0 and high / low >= 10)
    return {value: scale(value) for value in values}


def _tooltip(dot: Dot) -> str:
    return f'{dot.name}: {100 * dot.x:.1f}% → {100 * dot.y:.1f}%, {dot.weight:,.0f} words'


def _signed(fraction: float) -> str:
    return f'{round(100 * fraction, 6):+g}%'.replace('-', '−') if fraction else '0'


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
