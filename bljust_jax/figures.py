"""Pictures and tables for notebooks: of the toy, of runs, of comparisons and of probes.

A function that draws does so on matplotlib axes that it is given, of which matplotlib need not be imported here; it is
part of the extra `notebooks`. A function that returns text returns Markdown.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bljust_jax import toy
from bljust_jax.comparison.reading import Results, arms, cells, find_row, main_metric
from bljust_jax.probe import Score
from bljust_jax.report import load_run, read_object
from bljust_jax.run_log import METRICS_FILE, read_metrics

Axes = Any  # matplotlib's
PHASES = {'explore': '#dfe9d8', 'pretrain': '#dfe9d8', 'joint': '#fbe8cf', 'finetune': '#dbe6f4'}
_OTHER_PHASE = '#f4f4f4'


def plane(ax: Axes, journeys: Mapping[str, toy.Journey]) -> Axes:
    """Paths through the plane of the toy, over the contours of f (rings) and along the curve where g is least."""
    x, y = np.meshgrid(np.linspace(-1.5, 3.2, 80), np.linspace(-1.2, 2.2, 60))
    levels = jax.vmap(toy.upper)(jnp.stack([x.ravel(), y.ravel()], axis=-1)).reshape(x.shape)
    ax.contour(x, y, levels, 12, colors='#bbbbbb', linewidths=0.6)
    ax.plot(x[0], np.sin(x[0]), color='#444444', linewidth=1, linestyle='--', label='g least')
    for name, journey in journeys.items():
        ax.plot(*journey.points.T, linewidth=1.8, label=name)
        ax.plot(*journey.end, 'o', color=ax.lines[-1].get_color(), markersize=6)
    ax.plot(*toy.TARGET, 'kx', markersize=8, label='f least')
    ax.plot(*toy.solution(), 'k*', markersize=12, label='bilevel solution')
    ax.set(xlabel='θ₁', ylabel='θ₂')
    ax.legend(fontsize=8, loc='center left', bbox_to_anchor=(1.01, 0.5))
    return ax


def journey_levels(ax: Axes, journey: toy.Journey) -> Axes:
    """F and g over the steps of a journey through the plane, its phases in the background."""
    points = jnp.asarray(journey.points[1:])
    for label, level in (('f, upper', toy.upper), ('g, lower', toy.lower)):
        ax.semilogy(np.maximum(jax.vmap(level)(points), 1e-6), label=label)
    _shade(ax, list(enumerate(journey.phases)))
    ax.set(xlabel='step')
    ax.legend(fontsize=8)
    return ax


def curves(ax: Axes, workdir: str | Path, keys: str | Sequence[str], label: str = '', phases: bool = False) -> Axes:
    """What a run has logged under `keys`, such as `loss/sup`, over its steps; its phases in the background if asked."""
    lines = read_metrics(Path(workdir) / METRICS_FILE)
    for key in [keys] if isinstance(keys, str) else keys:
        points = [(line['step'], line[key]) for line in lines if line.get(key) is not None]
        ax.plot(*zip(*points, strict=True), marker='.', markersize=4, label=label or key)
    if phases:
        _shade(ax, [(line['step'], line['phase']) for line in lines if 'phase' in line])
    ax.set(xlabel='step', ylabel=keys if isinstance(keys, str) else '')
    if label or not isinstance(keys, str):
        ax.legend(fontsize=8)
    return ax


def overlaid(ax: Axes, runs: Mapping[str, str | Path], key: str) -> Axes:
    """What several runs have logged under `key`, on top of each other."""
    for name, run in runs.items():
        curves(ax, run, key, label=name)
    return ax


def trade_off(ax: Axes, runs: Mapping[str, str | Path]) -> Axes:
    """A dot for each run: its last unsupervised loss across, its last supervised loss upwards."""
    for index, (name, run) in enumerate(runs.items()):
        last = last_values(run, ('loss/unsup', 'loss/sup'))
        ax.plot(*last, 'os^DvP*X'[index % 8], markersize=8, label=name)
    ax.set(xlabel='loss/unsup at the end', ylabel='loss/sup at the end')
    ax.legend(fontsize=8)
    return ax


def gamma_against_loss(ax: Axes, runs: Iterable[str | Path]) -> Axes:
    """Both losses at the end of each run, over the largest γ of its config."""
    found = []
    for run in runs:
        gamma = read_object(Path(run) / 'config.json')['levels']['unsup']['gamma_max']
        found.append((gamma, *last_values(run, ('loss/sup', 'loss/unsup'))))
    gammas, *losses = zip(*sorted(found), strict=True)
    for label, values in zip(('loss/sup', 'loss/unsup'), losses, strict=True):
        ax.semilogx(gammas, values, 'o-', label=label)
    ax.set(xlabel='largest γ', ylabel='loss at the end')
    ax.legend(fontsize=8)
    return ax


def rates(ax: Axes, results: Results, split: str = 'test', metric: str | None = None) -> Axes:
    """Error rate of each arm of a comparison with its interval, in percent; small dots are seeds."""
    metric = metric or main_metric(results)
    found = [(arm, row) for arm in arms(results) if (row := find_row(results, arm, split, metric))]
    for place, (arm, row) in enumerate(found):
        low, high = (100 * end for end in row['interval'])
        ax.plot([low, high], [place, place], color='#1f5fa8', linewidth=2)
        ax.plot(100 * row['mean'], place, 'o', color='#1f5fa8', markersize=7)
        seeds = [cell[split][metric] for cell in cells(results, arm) if cell.get(split)]
        ax.plot(100 * np.array(seeds), [place] * len(seeds), '.', color='#c43c39', markersize=5)
    ax.set_yticks(range(len(found)), [arm for arm, _ in found])
    ax.invert_yaxis()
    ax.set(xlabel=f'{metric.upper()} on {split}, %')
    return ax


def layer_heatmap(ax: Axes, similarity: np.ndarray, ylabel: str = '', xlabel: str = '') -> Axes:
    """The CKA of every layer of a run with every layer of another, `[layers, layers]`, with its values."""
    ax.imshow(similarity, vmin=0, vmax=1, cmap='viridis', origin='lower')
    for (row, column), value in np.ndenumerate(similarity):
        ax.text(column, row, f'{value:.2f}', ha='center', va='center', color='white' if value < 0.6 else 'black')
    ax.set(xlabel=f'layer of {xlabel}', ylabel=f'layer of {ylabel}')
    ax.set_xticks(range(similarity.shape[1]))
    ax.set_yticks(range(similarity.shape[0]))
    return ax


def probes(ax: Axes, scores: Mapping[str, Sequence[Score]], metric: str = 'cer') -> Axes:
    """What probes of the layers of several encoders have come to: `cer` or `wer` in percent, or a loss."""
    factor, unit = (100, ', %') if metric in ('cer', 'wer') else (1, ', nats a label')
    for name, layers in scores.items():
        ax.plot([one.layer for one in layers], [factor * getattr(one, metric) for one in layers], 'o-', label=name)
    ax.set_xticks(sorted({one.layer for layers in scores.values() for one in layers}))
    ax.set(xlabel='layer', ylabel=f'{metric} of a linear probe on dev{unit}')
    ax.legend(fontsize=8)
    return ax


def run_table(runs: Mapping[str, str | Path]) -> str:
    """The last losses of runs, and their error rates on dev and test."""
    head = ['run', 'loss/sup', 'loss/unsup', 'dev CER %', 'dev WER %', 'test CER %', 'test WER %']
    lines = [head, ['---', *(['---:'] * (len(head) - 1))]]
    for name, run in runs.items():
        splits = read_object(Path(run) / 'summary.json')['splits']
        losses = ['–' if value is None else f'{value:.3f}' for value in last_values(run, head[1:3])]
        lines.append([name, *losses, *(f'{100 * splits[s][m]:.1f}' for s in ('dev', 'test') for m in ('cer', 'wer'))])
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def transcripts(workdir: str | Path, split: str = 'dev', count: int = 6) -> str:
    """The first utterances of a split: what was said, and what was heard."""
    lines = ['| said | heard |', '| --- | --- |']
    for utterance in load_run(Path(workdir)).hypotheses[split][:count]:
        lines.append(f'| {utterance.reference} | {utterance.hypothesis} |')
    return '\n'.join(lines)


def last_values(workdir: str | Path, keys: Sequence[str]) -> list[float | None]:
    """The last value that a run has logged under each key; None if it has none."""
    lines = read_metrics(Path(workdir) / METRICS_FILE)
    return [next((line[key] for line in reversed(lines) if line.get(key) is not None), None) for key in keys]


def _shade(ax: Axes, phases: Sequence[tuple[float, str]]) -> None:
    """A background for each phase, given by (step, name) of each of its points, and names above the longest ones."""
    spans: dict[str, list[tuple[float, float]]] = {}
    begin = 0.0
    for name, group in itertools.groupby(phases, key=lambda pair: pair[1]):
        end = list(group)[-1][0]
        spans.setdefault(name, []).append((begin, end))
        begin = end
    for name, places in spans.items():
        for begin, end in places:
            ax.axvspan(begin, end, color=PHASES.get(name, _OTHER_PHASE), linewidth=0, zorder=0)
        begin, end = max(places, key=lambda place: place[1] - place[0])
        ax.text((begin + end) / 2, 1.02, name, transform=ax.get_xaxis_transform(), fontsize=8, ha='center')
