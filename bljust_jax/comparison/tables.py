"""The results of a comparison as tables, like those of a paper: in Markdown that reads well as it is, and in HTML."""

from collections.abc import Sequence

from bljust_jax.comparison.reading import (
    NOTES,
    Results,
    Row,
    breakable,
    cells,
    doubts,
    excludes_zero,
    find_row,
    heading,
    metrics,
    p_value,
    percent,
    ranked,
    relative,
    signed,
    splits,
    unfinished,
)
from bljust_jax.report_charts import number
from bljust_jax.report_sections import escape
from bljust_jax.run_log import duration

BUDGET = ('Steps', 'Labelled h', 'Unlabelled h', 'PFLOPs', 'Wall time')


def markdown(results: Results) -> str:
    """All tables, test splits first, with what was compared, how to take it, and what is missing."""
    parts = [f'# {results["config"]} on {results["corpus"]}', _settings(results)]
    parts += [f'## {heading(results, split)}\n\n{table(results, split)}' for split in splits(results)]
    parts.append('\n'.join(NOTES) if results['rows'] else 'No run has finished yet.')
    parts.append(
        '\n'.join(
            f'- {cell["arm"]}, seed {cell["seed"]}: {cell["error"] or "unfinished"}' for cell in unfinished(results)
        )
    )
    return '\n\n'.join(part for part in parts if part) + '\n'


def table(results: Results, split: str) -> str:
    """A Markdown table of one split for each rate: in percent, best arm first; the best rate is bold.

    Intervals are at 95%. An asterisk marks a difference whose interval over utterances excludes zero.
    """
    return '\n\n'.join(_aligned(_lines(results, split, metric)) for metric in metrics(results))


def score_table(results: Results, split: str) -> str:
    """The same in HTML, with the intervals over speakers."""
    rates = metrics(results)
    groups = ''.join(f'<th colspan="3">{metric.upper()}, %</th>' for metric in rates)
    columns = '<th>mean ± std</th><th>difference</th><th>p</th>' * len(rates)
    rows = (
        f'<tr><th>{breakable(arm)}{_note(results, arm)}</th>'
        + ''.join(_scores(results, find_row(results, arm, split, metric)) for metric in rates)
        + ''.join(f'<td class="spent">{escape(text)}</td>' for text in budget(results, arm))
        + '</tr>'
        for arm in ranked(results)
    )
    return (
        '<div class="card scroll"><table class="results"><thead>'
        f'<tr><th></th>{groups}<th colspan="{len(BUDGET)}">Budget of a run</th></tr>'
        f'<tr><th>Arm</th>{columns}{"".join(f"<th>{name}</th>" for name in BUDGET)}</tr>'
        f'</thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def budget(results: Results, arm: str) -> list[str]:
    """What a finished run of the arm has used, the mean over seeds, in the order of `BUDGET`."""
    spent = [cell.get('budget') or {} for cell in cells(results, arm, 'finished')]

    def mean(name: str) -> float | None:
        values = [one[name] for one in spent if one.get(name) is not None]
        return sum(values) / len(values) if values else None

    flops, wall = mean('flops'), mean('wall_seconds')
    hours = [mean('labelled_hours'), mean('unlabelled_hours')]
    amounts = [mean('steps'), *hours, None if flops is None else flops / 1e15]
    return [*('–' if amount is None else number(amount) for amount in amounts), '–' if wall is None else duration(wall)]


def is_best(results: Results, row: Row) -> bool:
    """Whether no arm makes fewer errors on the split of `row`."""
    same = [other for other in results['rows'] if (other['split'], other['metric']) == (row['split'], row['metric'])]
    return row['mean'] <= min(other['mean'] for other in same)


def spread(row: Row) -> str:
    """Mean and standard deviation over seeds; of one seed there is none."""
    return percent(row['mean']) + (f' ± {percent(row["std"])}' if row.get('std') is not None else '')


def _settings(results: Results) -> str:
    seeds = ', '.join(map(str, results['seeds']))
    lines = [
        f'Seeds {seeds}; equal {results["match"].replace("_", " ")}; checkpoints chosen by {results["select"]}; '
        f'rates in percent with 95% intervals; differences (Δ) from {results["reference"]}.'
    ]
    chosen = (results['sweep'] or {}).get('chosen', {})
    lines += [
        f'{name}: dev chooses {label}.' if label else f'{name}: dev has not chosen a value yet.'
        for name, label in chosen.items()
    ]
    return '\n'.join(lines)


def _lines(results: Results, split: str, metric: str) -> list[list[str]]:
    """Head and a line for each arm that has a result."""
    over = ['utterances', 'speakers']
    head = ['Arm', 'Seeds', f'{metric.upper()} %', *over, 'Δ (relative)', *over, 'seeds', 'Holm p', *BUDGET]
    rows = [row for arm in ranked(results) if (row := find_row(results, arm, split, metric))]
    return [head, *([*_line(results, row), *budget(results, row['arm'])] for row in rows)]


def _untested(results: Results, row: Row) -> str:
    """What stands in place of a difference."""
    return 'reference' if row['arm'] == results['reference'] else 'no reference yet'


def _line(results: Results, row: Row) -> list[str]:
    rate = f'**{spread(row)}**' if is_best(results, row) else spread(row)
    arm = row['arm'].replace('|', r'\|')
    fields = [arm, str(len(row['seeds'])), rate, _range(row['interval']), _range(row.get('speaker_interval'))]
    if not (against := row.get('against')):
        return [*fields, _untested(results, row), '', '', '', '']
    mark = r'\*' if excludes_zero(against['interval']) else ''
    intervals = [_ends(against.get(name)) for name in ('interval', 'speaker_interval', 'seed_interval')]
    difference = f'{signed(against["difference"])} ({relative(against["relative"])}){mark}'
    return [*fields, difference, *intervals, p_value(against.get('p_holm'))]


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """A table with padded columns: the first to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [' | '.join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    rule = '|'.join(['-' * (widths[0] + 2), *('-' * (width + 1) + ':' for width in widths[1:])])
    return '\n'.join([f'| {lines[0]} |', f'|{rule}|', *(f'| {line} |' for line in lines[1:])])


def _scores(results: Results, row: Row | None) -> str:
    if row is None:
        return '<td class="none" colspan="3">no result</td>'
    best = ' best' if is_best(results, row) else ''
    rate = f'<td class="rate{best}">{spread(row)}<small>{_range(row["interval"])}</small></td>'
    if not (against := row.get('against')):
        return f'{rate}<td class="none" colspan="2">{_untested(results, row)}</td>'
    return f'{rate}{_difference(row)}<td>{escape(p_value(against.get("p_holm")))}</td>'


def _difference(row: Row) -> str:
    """The difference in points, with an arrow where its interval excludes zero, hollow if there are other doubts."""
    against = row['against']
    kind = arrow = ''
    if excludes_zero(against['interval']):
        full = not doubts(row)
        better = against['difference'] < 0
        kind, arrow = ('better', '▼ ' if full else '▽ ') if better else ('worse', '▲ ' if full else '△ ')
    over = {'utt.': 'interval', 'spk.': 'speaker_interval', 'seeds': 'seed_interval'}
    intervals = (f'<small>{name} {_ends(against[key])}</small>' for name, key in over.items() if against.get(key))
    return (
        f'<td class="{kind}">{arrow}{signed(against["difference"])} ({relative(against["relative"])})'
        f'{"".join(intervals)}</td>'
    )


def _range(interval: Sequence[float] | None) -> str:
    return '–' if interval is None else f'{percent(interval[0], 1)} – {percent(interval[1], 1)}'


def _ends(interval: Sequence[float] | None) -> str:
    return '–' if interval is None else f'[{signed(interval[0], 1)}, {signed(interval[1], 1)}]'


def _note(results: Results, arm: str) -> str:
    """How many of an arm's seeds have finished, if not all."""
    finished, planned = len(cells(results, arm, 'finished')), len(cells(results, arm))
    return f'<small>{finished} of {planned} seeds finished</small>' if finished < planned else ''
