"""The results of a comparison as tables, like those of a paper: in Markdown for notebooks, in HTML for the report."""

from bljust_jax.comparison.reading import (
    METRICS,
    Results,
    Row,
    breakable,
    cells,
    doubts,
    excludes_zero,
    find_row,
    main_metric,
    p_value,
    percent,
    ranked,
    signed,
)
from bljust_jax.report_charts import number
from bljust_jax.report_sections import escape
from bljust_jax.run_log import duration

BUDGET = ('Labelled h', 'Unlabelled h', 'PFLOPs', 'Wall time')


def table(results: Results, split: str) -> str:
    """A Markdown table of one split: rates in percent, best first; the best rate is bold.

    An asterisk marks a difference whose interval over utterances excludes zero.
    """
    metrics = _metrics(results)
    head = ['Arm', *(text for metric in metrics for text in _head(metric)), *BUDGET]
    lines = [head, ['---', *('---:' for _ in head[1:])]]
    for arm in ranked(results):
        fields = [arm.replace('|', r'\|')]
        for metric in metrics:
            row = find_row(results, arm, split, metric)
            fields += _markdown(row, is_best(results, row)) if row else ['–'] * 4
        lines.append(fields + budget(results, arm))
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def score_table(results: Results, split: str) -> str:
    """The same in HTML, with the intervals over speakers."""
    metrics = _metrics(results)
    groups = ''.join(f'<th colspan="3">{metric.upper()}, %</th>' for metric in metrics)
    columns = '<th>mean ± std</th><th>difference</th><th>p</th>' * len(metrics)
    rows = (
        f'<tr><th>{breakable(arm)}{_note(results, arm)}</th>'
        + ''.join(_scores(results, find_row(results, arm, split, metric)) for metric in metrics)
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
    amounts = [mean('labelled_hours'), mean('unlabelled_hours'), None if flops is None else flops / 1e15]
    return [*('–' if amount is None else number(amount) for amount in amounts), '–' if wall is None else duration(wall)]


def is_best(results: Results, row: Row) -> bool:
    """Whether no arm makes fewer errors on the split of `row`."""
    same = [other for other in results['rows'] if (other['split'], other['metric']) == (row['split'], row['metric'])]
    return row['mean'] <= min(other['mean'] for other in same)


def spread(row: Row) -> str:
    """Mean and standard deviation over seeds; of one seed there is none."""
    return percent(row['mean']) + (f' ± {percent(row["std"])}' if row.get('std') is not None else '')


def _metrics(results: Results) -> list[str]:
    return sorted(METRICS, key=main_metric(results).__ne__)


def _head(metric: str) -> list[str]:
    return [f'{metric.upper()} %', '95%', 'Δ (relative) [95%]', 'Holm p']


def _markdown(row: Row, best: bool) -> list[str]:
    rate = f'**{spread(row)}**' if best else spread(row)
    low, high = row['interval']
    fields = [rate, f'{percent(low, 1)} – {percent(high, 1)}']
    if not (against := row.get('against')):
        return [*fields, 'reference', '']
    mark = r'\*' if excludes_zero(against['interval']) else ''
    difference = (
        f'{signed(against["difference"])} ({signed(against["relative"], 1)}%) {_ends(against["interval"])}{mark}'
    )
    return [*fields, difference, p_value(against.get('p_holm'))]


def _scores(results: Results, row: Row | None) -> str:
    if row is None:
        return '<td class="none" colspan="3">no result</td>'
    best = ' best' if is_best(results, row) else ''
    low, high = row['interval']
    rate = f'<td class="rate{best}">{spread(row)}<small>{percent(low, 1)} – {percent(high, 1)}</small></td>'
    if not (against := row.get('against')):
        return f'{rate}<td class="none" colspan="2">reference</td>'
    return f'{rate}{_difference(results, row)}<td>{escape(p_value(against.get("p_holm")))}</td>'


def _difference(results: Results, row: Row) -> str:
    """The difference in points, with an arrow where its interval excludes zero, hollow if there are other doubts."""
    against = row['against']
    kind = arrow = ''
    if excludes_zero(against['interval']):
        full = not doubts(results, row)
        better = against['difference'] < 0
        kind, arrow = ('better', '▼ ' if full else '▽ ') if better else ('worse', '▲ ' if full else '△ ')
    speakers = against.get('speaker_interval')
    return (
        f'<td class="{kind}">{arrow}{signed(against["difference"])} ({signed(against["relative"], 1)}%)'
        f'<small>utt. {_ends(against["interval"])}</small>'
        + (f'<small>spk. {_ends(speakers)}</small>' if speakers else '')
        + '</td>'
    )


def _ends(interval: tuple[float, float]) -> str:
    return f'[{signed(interval[0], 1)}, {signed(interval[1], 1)}]'


def _note(results: Results, arm: str) -> str:
    """How many of an arm's seeds have finished, if not all."""
    finished, planned = len(cells(results, arm, 'finished')), len(cells(results, arm))
    return f'<small>{finished} of {planned} seeds finished</small>' if finished < planned else ''
