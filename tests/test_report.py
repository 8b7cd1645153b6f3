"""The report of a realistic run, of one that has just begun, and of one whose texts try to break out."""

import html.parser
import json
import math
import random
import re
from pathlib import Path

import pytest

from bljust_jax import report_charts, report_curves
from bljust_jax.config import Config, LevelConfig, LevelsConfig, to_config_dict
from bljust_jax.errors import UserError
from bljust_jax.metrics import error_rates
from bljust_jax.report import load_run, write_report
from bljust_jax.report_sections import Utterance, choose_samples

SENTENCES = (
    'please enter your password followed by the pound key',
    'the number you have dialed is not in service',
    'to return a call press one to forward this message press two',
    'your call is important to us please hold the line',
    'there are no messages in your mailbox',
    'the conference is now being recorded',
    'you are about to leave the queue <b>& goodbye</b>',
)
PHASES = [*[('explore', 200), ('joint', 500)] * 4, ('finetune', 1200)]
STEPS = sum(steps for _, steps in PHASES)


def fake_run(workdir: Path, *, finished: bool = True) -> Path:
    """Writes the folder of a BL-JUST run: 400 lines of log, 20 evaluations, 120 hypotheses a split."""
    chance = random.Random(0)
    (workdir / 'hypotheses').mkdir(parents=True)
    config = Config(levels=LevelsConfig(unsup=LevelConfig('best_rq', gamma='exponential')))
    (workdir / 'config.json').write_text(to_config_dict(config).to_json())
    (workdir / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in _log(chance)))
    if not finished:
        return workdir
    splits = {split: _hypotheses(chance) for split in ('dev', 'test')}
    for split, lines in splits.items():
        (workdir / 'hypotheses' / f'{split}.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    scores = {
        split: error_rates([line['reference'] for line in lines], [line['hypothesis'] for line in lines]).as_dict()
        for split, lines in splits.items()
    }
    summary = {
        'strategy': 'bl_just',
        'corpus': 'phone_prompts',
        'seed': 0,
        'steps': STEPS,
        'best_step': 3800,
        'splits': scores,
        'budget': {
            'labelled_hours': 52.9,
            'unlabelled_hours': 46.1,
            'wall_seconds': 4012.0,
            'audio_hours_per_hour': 88.7,
        },
        'parameters': 3_412_544,
        'versions': {'bljust_jax': '0.1.0', 'jax': '0.10.2', 'flax': '0.12.8'},
    }
    (workdir / 'summary.json').write_text(json.dumps(summary))
    return workdir


def _log(chance: random.Random) -> list[dict]:
    lines, step, labelled, unlabelled = [], 0, 0, 0
    for phase, steps in PHASES:
        for offset in range(10, steps + 1, 10):
            now = step + offset
            line: dict = {'step': now, 'phase': phase}
            if phase != 'explore':
                labelled += 10
                line['loss/sup'] = 0.25 + 3.0 * math.exp(-labelled / 500) * chance.uniform(0.85, 1.15)
            if phase != 'finetune':
                unlabelled += 10
                fall = 1 - math.exp(-unlabelled / 900)
                line['loss/unsup'] = 6.9 - 3.2 * fall + chance.gauss(0, 0.12) + 0.2 * (phase == 'joint')
                line['accuracy/unsup'] = 0.004 + 0.28 * fall * chance.uniform(0.9, 1.1)
                line['chance/unsup'] = 0.02
            if phase == 'joint':
                line['gamma/unsup'] = 0.01 * 100 ** (labelled / 2000)
                line['grad_cosine/unsup'] = chance.gauss(0.15, 0.12)
            line['grad_norm/encoder'] = math.exp(chance.gauss(0, 0.3))
            line['learning_rate/encoder'] = 2e-3 * min(offset / 100, 1.0) * (0.5 + 0.5 * math.cos(offset / steps * 3))
            if now % 200 == 0:
                rates = {'wer/dev': 0.12 + math.exp(-now / 900), 'cer/dev': 0.04 + math.exp(-now / 700)}
                lines.append({'step': now} | rates)
            lines.append(line)
        step += steps
    return lines


def _hypotheses(chance: random.Random) -> list[dict]:
    return [
        {
            'id': f'prompt_{index:03d}',
            'reference': (sentence := chance.choice(SENTENCES)),
            'hypothesis': _garble(sentence, chance, rate=index / 300),
            'speaker': chance.choice(('allison', 'june')),
            'seconds': len(sentence) / 14,
        }
        for index in range(120)
    ]


def _garble(sentence: str, chance: random.Random, rate: float) -> str:
    words = []
    for word in sentence.split():
        fate = chance.random() / max(rate, 1e-9)
        if fate >= 0.3:
            words += [f'{word[:-1]}e', 'the'] if fate < 0.5 else [f's{word[1:]}'] if fate < 1 else [word]
    return ' '.join(words)
