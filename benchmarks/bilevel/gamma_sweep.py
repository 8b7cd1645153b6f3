"""What the largest γ does to a training: the smoke task, from γ_max = 10⁻³ to 10³.

    python -m benchmarks.bilevel.gamma_sweep [--seeds=2] [--workdir=DIR] [--figure=docs/gamma_sweep.svg]

Every run is the main command with the preset `smoke` and more steps, so that it learns, all of them joint: no
exploration, no final fine-tuning, so that γ alone differs. Folders of runs are kept with `--workdir`, and a run that is
there already is not repeated. Reported are the character error rate on dev, the mean losses of the last quarter of the
steps, and there the share of the lower level in the update. The ratio is the lowest mean error rate, over all γ_max, to
that of the smallest.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmarks.side_by_side import print_result

GAMMAS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0)
STEPS = 600


class Outcome(NamedTuple):
    """Of one run: dev CER, and of its last quarter the mean losses and the lower level's mean share of the update."""

    cer: float
    sup: float
    unsup: float
    share: float


def run(gamma: float, seed: int, workdir: Path) -> Outcome:
    """Trains, or reads what was trained."""
    workdir /= f'gamma_{gamma:g}_seed_{seed}'
    if not (workdir / 'summary.json').exists():
        options = {
            'seed': seed,
            'levels.unsup.gamma_max': gamma,
            'strategy.labelled_steps': STEPS,
            'strategy.explore_steps': 0,
            'strategy.finetune_steps': 0,
            'optimizer.warmup_steps': 50,
            'eval.every_steps': STEPS // 4,
            'checkpoint_every_steps': STEPS // 2,
        }
        flags = [f'--config.{field}={value}' for field, value in options.items()]
        command = [sys.executable, '-m', 'bljust_jax.main', '--config=configs/conformer.py:smoke', *flags]
        done = subprocess.run([*command, f'--workdir={workdir}'], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f'The run in {workdir} failed:\n{done.stderr[-2000:]}')
    summary = json.loads((workdir / 'summary.json').read_text())
    lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]

    def mean(key: str) -> float:
        return statistics.mean(line[key] for line in lines if line['step'] > 0.75 * STEPS and key in line)

    return Outcome(summary['splits']['dev']['cer'], mean('loss/sup'), mean('loss/unsup'), mean('update_share/unsup'))


def draw(path: str, outcomes: dict[float, list[Outcome]]) -> None:
    """Error rate, losses and share against γ_max: a point for each seed, a line through the means."""
    import matplotlib

    matplotlib.use('svg')
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 4, figsize=(13, 3), layout='constrained')
    titles = {'cer': 'dev CER', 'sup': 'supervised loss', 'unsup': 'unsupervised loss', 'share': 'its share of updates'}
    for axis, (field, title) in zip(axes, titles.items(), strict=True):
        values = {gamma: [getattr(outcome, field) for outcome in runs] for gamma, runs in outcomes.items()}
        axis.semilogx(list(values), [statistics.mean(each) for each in values.values()], color='#1f5fa8')
        for gamma, each in values.items():
            axis.plot([gamma] * len(each), each, 'o', color='#1f5fa8', alpha=0.5, markersize=4)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel('γ_max')
        if field != 'unsup':
            axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    figure.savefig(path)


def main() -> None:
    """Trains, prints a table and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, default=2)
    parser.add_argument('--workdir', type=Path, help='where runs are kept; by default nowhere')
    parser.add_argument('--figure', default='', help='where to draw it (.svg or .png), which needs matplotlib')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        workdir = options.workdir or Path(scratch)
        outcomes: dict[float, list[Outcome]] = {}
        for gamma in GAMMAS:
            outcomes[gamma] = [run(gamma, seed, workdir) for seed in range(options.seeds)]
            cer, *rest = (statistics.mean(each) for each in zip(*outcomes[gamma], strict=True))
            spread = statistics.stdev(outcome.cer for outcome in outcomes[gamma]) if options.seeds > 1 else math.nan
            print(
                f'γ_max {gamma:<6g}  CER {100 * cer:5.1f} ± {100 * spread:.1f} %  '
                'losses {:.3f} and {:.3f}, share {:.2f}'.format(*rest),
                flush=True,
            )
    if options.figure:
        draw(options.figure, outcomes)
    rates = {gamma: statistics.mean(outcome.cer for outcome in runs) for gamma, runs in outcomes.items()}
    print_result('bilevel.gamma_sweep', min(rates.values()) / rates[GAMMAS[0]], cer=rates)


if __name__ == '__main__':
    main()
