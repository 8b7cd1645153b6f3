"""The results of a comparison as tables in Markdown, which also read well as plain text."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bljust_jax.run_log import duration

_NONE = '–'


def markdown(results: Mapping[str, Any]) -> str:
    """Tables of `results.json`: one for each split and metric, with what each arm has spent, and what is missing."""
    groups = list(dict.fromkeys((row['split'], row['metric']) for row in results['rows']))
    parts = [f'# {results["config"]} on {results["corpus"]}', _settings(results)]
    for split, metric in groups:
        rows = [row for row in results['rows'] if (row['split'], row['metric']) == (split, metric)]
        parts += [
            f'## {metric.upper()} on {split}',
            _aligned([_header(results), *(_line(row, results) for row in rows)]),
        ]
    if not groups:
        parts.append('No run has finished yet.')
    missing = [cell for cell in results['cells'] if cell['state'] != 'finished']
    parts += ['\n'.join(f'- {cell["arm"]}, seed {cell["seed"]}: {cell["error"] or "unfinished"}' for cell in missing)]
    return '\n\n'.join(part for part in parts if part) + '\n'


def percent(fraction: float) -> str:
    """A rate in percent, with one decimal."""
    return f'{100 * fraction:.1f}'


def _settings(results: Mapping[str, Any]) -> str:
    seeds = ', '.join(map(str, results['seeds']))
    lines = [
        f'Seeds {seeds}; equal {results["match"].replace("_", " ")}; checkpoints chosen by {results["select"]}; '
        f'rates in percent with 95% intervals; differences from {results["reference"]}, p adjusted by Holm.'
    ]
    if sweep := results['sweep']:
        for name, label in sweep['chosen'].items():
            lines.append(f'{name}: dev chooses {label}.' if label else f'{name}: dev has not chosen a value yet.')
    return '\n'.join(lines)


def _header(results: Mapping[str, Any]) -> list[str]:
    rates = ['rate', 'utterances', 'speakers', 'difference', 'utterances', 'speakers', 'p']
    return ['arm', 'seeds', *rates, 'steps', 'labelled h', 'unlabelled h', 'FLOPs', 'wall']


def _line(row: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    rate = percent(row['mean']) + (f' ± {percent(row["std"])}' if row['std'] is not None else '')
    test = row['against'] or {}
    return [
        row['arm'],
        str(len(row['seeds'])),
        rate,
        _interval(row['interval']),
        _interval(row['speaker_interval']),
        f'{100 * test["difference"]:+.1f}' if test else _NONE,
        _interval(test.get('interval'), sign='+'),
        _interval(test.get('speaker_interval'), sign='+'),
        f'{test["p_holm"]:.4f}' if test else _NONE,
        *_spent(row, results['cells']),
    ]


def _spent(row: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Means over the runs of a row."""
    budgets = [cell['budget'] for cell in cells if cell['arm'] == row['arm'] and cell['seed'] in row['seeds']]
    written = {
        'steps': lambda steps: f'{steps:.0f}',
        'labelled_hours': lambda hours: f'{hours:.2f}',
        'unlabelled_hours': lambda hours: f'{hours:.2f}',
        'flops': lambda flops: f'{flops:.2e}',
        'wall_seconds': duration,
    }
    return [
        _NONE if any(budget[name] is None for budget in budgets) else write(statistics.fmean(b[name] for b in budgets))
        for name, write in written.items()
    ]


def _interval(interval: Sequence[float] | None, sign: str = '') -> str:
    return _NONE if interval is None else ' … '.join(f'{100 * end:{sign}.1f}' for end in interval)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """A table with padded columns: the first to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [[text.rjust(width) for text, width in zip(row, widths, strict=True)] for row in rows]
    lines = [
        f'| {" | ".join([row[0].ljust(widths[0]), *cells[1:]])} |' for row, cells in zip(rows, padded, strict=True)
    ]
    rule = '|'.join(['-' * (widths[0] + 2), *('-' * (width + 1) + ':' for width in widths[1:])])
    return '\n'.join([lines[0], f'|{rule}|', *lines[1:]])
