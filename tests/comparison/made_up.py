"""A made-up comparison: the folder that `bljust_jax.comparison.report` reads, with any arms."""

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SENTENCES = (
    'please enter your password followed by the pound key',
    'the number you have dialed is not in service',
    'to return a call press one to forward this message press two',
    'there are no messages in your mailbox',
)
SPLITS = {'dev': 24, 'test': 48, 'test_unseen': 24}


def make_comparison(
    workdir: Path,
    arms: Sequence[str],
    *,
    seeds: Sequence[int] = (0, 1),
    reference: str | None = None,
    sweep: dict[str, Any] | None = None,
    text: str = '',
    speakers: int = 8,
) -> dict[str, Any]:
    """Writes runs and `results.json`, every arm a little better than the one before, and returns the results."""
    reference = reference or arms[0]
    cells, rows = [], []
    for index, arm in enumerate(arms):
        rate = 0.4 * 0.96**index
        for seed in seeds:
            run = f'runs/{index}/seed_{seed}'
            write_run(workdir / run, random.Random(100 * index + seed), rate, text=text, speakers=speakers)
            cells.append(_cell(arm, seed, run, rate + 0.004 * seed, sweep and sweep['values'][index], sweep))
        for split in SPLITS:
            rows += [_row(arm, split, metric, rate, arms, reference, seeds, speakers) for metric in ('cer', 'wer')]
    results = {
        'config': f'configs/conformer.py:smoke{text}',
        'corpus': f'smoke{text}',
        'match': 'labelled_hours',
        'reference': reference,
        'select': 'cer/dev',
        'seeds': list(seeds),
        'sweep': sweep,
        'cells': cells,
        'rows': rows,
    }
    save(workdir, results)
    return results


def save(workdir: Path, results: dict[str, Any]) -> None:
    (workdir / 'results.json').write_text(json.dumps(results))


def write_run(folder: Path, chance: random.Random, rate: float, *, text: str = '', speakers: int = 8) -> None:
    """A finished run's `metrics.jsonl` and `hypotheses/`; utterances and speakers are the same in all runs."""
    (folder / 'hypotheses').mkdir(parents=True)
    lines: list[dict[str, Any]] = []
    for step in range(20, 1001, 20):
        line = {'step': step, 'phase': 'joint', 'loss/sup': rate + 3 * math.exp(-step / 200) + chance.gauss(0, 0.05)}
        lines.append(line | {'loss/unsup': 5 + rate + 2 * math.exp(-step / 300) + chance.gauss(0, 0.1)})
        if step % 100 == 0:
            error = rate + math.exp(-step / 150) + chance.gauss(0, 0.008)
            lines.append({'step': step, 'cer/dev': error, 'wer/dev': 1.3 * error})
    _write_lines(folder / 'metrics.jsonl', lines)
    for split, count in SPLITS.items():
        _write_lines(
            folder / 'hypotheses' / f'{split}.jsonl', [_heard(i, chance, rate, text, speakers) for i in range(count)]
        )


def _heard(index: int, chance: random.Random, rate: float, text: str, speakers: int) -> dict[str, Any]:
    said = SENTENCES[index % len(SENTENCES)] + text
    words = [word if chance.random() > rate else chance.choice(('', f'{word[1:]}e', 'the')) for word in said.split()]
    speaker = f'speaker {index % speakers}{text}' if speakers else None
    return {
        'id': f'u{index}{text}',
        'speaker': speaker,
        'reference': said,
        'hypothesis': ' '.join(words),
        'seconds': 2.0,
    }


def _cell(arm: str, seed: int, run: str, rate: float, value: Any, sweep: dict[str, Any] | None) -> dict[str, Any]:
    scores = {'wer': 1.3 * rate, 'cer': rate, 'utterances': 48, 'words': 400}
    return {
        'arm': arm,
        'strategy': 'bl_just',
        'overrides': {'strategy.name': 'bl_just'} | ({sweep['field']: value} if sweep else {}),
        'seed': seed,
        'run': run,
        'state': 'finished',
        'error': None,
        'best_step': 900,
        **dict.fromkeys(SPLITS, scores),
        'budget': {
            'steps': 1000,
            'labelled_hours': 12.5,
            'unlabelled_hours': 31.0,
            'flops': 2.5e15,
            'wall_seconds': 4012.0,
        },
    }


def _row(
    arm: str,
    split: str,
    metric: str,
    rate: float,
    arms: Sequence[str],
    reference: str,
    seeds: Sequence[int],
    speakers: int,
) -> dict[str, Any]:
    scale = 1.3 if metric == 'wer' else 1.0
    difference = scale * (rate - 0.4 * 0.96 ** arms.index(reference))
    against = {
        'difference': difference,
        'relative': difference / (scale * 0.4 * 0.96 ** arms.index(reference)),
        'interval': [difference - 0.02, difference + 0.02],
        'speaker_interval': [difference - 0.035, difference + 0.03] if speakers >= 5 else None,
        'seeds': list(seeds),
        'seed_interval': [difference - 0.015, difference + 0.014] if len(seeds) > 1 else None,
        'p': 0.01,
        'p_holm': 0.03 if abs(difference) > 0.03 else 0.4,
    }
    return {
        'arm': arm,
        'split': split,
        'metric': metric,
        'seeds': list(seeds),
        'mean': scale * rate,
        'std': 0.006 if len(seeds) > 1 else None,
        'interval': [scale * rate - 0.03, scale * rate + 0.03],
        'speaker_interval': [scale * rate - 0.04, scale * rate + 0.04] if speakers >= 5 else None,
        'against': None if arm == reference else against,
    }


def _write_lines(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
