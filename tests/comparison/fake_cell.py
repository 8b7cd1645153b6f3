"""Stands in for `bljust_jax.comparison.cell`: writes the files of a run at once, without training.

Of each utterance of 10 letters it gets so many wrong as γ's maximum and the seed say. `FAKE` in the environment is a
JSON object: runs that fail (`fail`: run -> how) or sleep (`sleep`: run -> seconds) at first.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from bljust_jax.config import from_config_dict, to_config_dict
from bljust_jax.metrics import error_rates
from bljust_jax.workdir import write_json, write_lines

REFERENCE = 'abcdefghij'


def main(folder: Path) -> None:
    config = from_config_dict(json.loads(sys.stdin.readline()))
    run = '/'.join(folder.parts[-3:])
    workdir, fake = folder.parents[2], json.loads(os.environ.get('FAKE', '{}'))
    splits = tuple(dict.fromkeys((config.eval.dev, *config.eval.splits)))
    with open(workdir / 'calls.jsonl', 'a') as calls:
        calls.write(json.dumps({'run': run, 'splits': splits, 'pid': os.getpid()}) + '\n')
    print('some output')
    match fake.get('fail', {}).get(run):
        case 'stop':
            sys.exit('error: A guard has stopped it.')
        case 'kill':
            os.kill(os.getpid(), signal.SIGKILL)
        case 'crash':
            raise RuntimeError('no such thing')
    if seconds := fake.get('sleep', {}).get(run):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: (print('saved'), sys.exit(130)))
        print('sleeping')
        time.sleep(seconds)
    wrong = {'supervised': 3, 'joint': 2}.get(config.strategy.name, 1) + config.seed % 2
    wrong += round(10 * abs(config.levels.unsup.gamma_max - 0.1)) if config.levels.unsup.gamma_max != 1 else 0
    rates = {}
    for split in splits:
        lines = [
            {
                'id': f'{split}-{index}',
                'speaker': f's{index % 6}',
                'reference': REFERENCE,
                'hypothesis': REFERENCE[wrong + index % 2 :],
                'seconds': 1.0,
            }
            for index in range(12)
        ]
        rates[split] = error_rates([REFERENCE] * 12, [line['hypothesis'] for line in lines]).as_dict()
        write_lines(folder / 'hypotheses' / f'{split}.jsonl', lines)
    write_json(folder / 'config.json', to_config_dict(config).to_dict())
    budget = {'labelled_hours': 0.5, 'unlabelled_hours': 1.0, 'wall_seconds': 10.0, 'audio_hours_per_hour': 300.0}
    summary = {'strategy': config.strategy.name, 'seed': config.seed, 'steps': 8, 'best_step': 7, 'splits': rates}
    write_json(folder / 'summary.json', summary | {'budget': budget})


if __name__ == '__main__':
    main(Path(sys.argv[1]))
