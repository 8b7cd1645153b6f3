"""Stands in for `bljust_jax.comparison.cell`: writes the files of a run at once, without training.

Of each utterance of 10 letters it leaves out so many as strategy, γ's maximum, seed and utterance say. `FAKE` in the
environment is a JSON object: runs that fail (`fail`: run -> how) or sleep (`sleep`: run -> seconds) first.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

REFERENCE = 'abcdefghij'


def main(folder: Path) -> None:
    config = json.loads(sys.stdin.readline())
    run = '/'.join(folder.parts[-3:])
    fake = json.loads(os.environ.get('FAKE', '{}'))
    splits = tuple(dict.fromkeys((config['eval']['dev'], *config['eval']['splits'])))
    with open(folder.parents[2] / 'calls.jsonl', 'a') as calls:
        calls.write(json.dumps({'run': run, 'splits': splits}) + '\n')
    print('some output')
    match fake.get('fail', {}).get(run):
        case 'stop':
            sys.exit('error: A guard has stopped it.')
        case 'kill':
            os.kill(os.getpid(), signal.SIGKILL)
        case 'crash':
            raise RuntimeError('no such thing')
        case 'after dev' if len(splits) > 1:
            sys.exit('error: Scoring has stopped.')
    if seconds := fake.get('sleep', {}).get(run):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: (print('saved'), sys.exit(130)))
        print('sleeping')
        time.sleep(seconds)
    gamma_max = config['levels']['unsup']['gamma_max']
    wrong = {'supervised': 3, 'joint': 2}.get(config['strategy']['name'], 1) + config['seed'] % 2
    wrong += 0 if gamma_max == 1 else round(10 * abs(gamma_max - 0.1))
    errors = [wrong + index % 2 for index in range(12)]
    rates = {'wer': 1.0, 'cer': sum(errors) / 120, 'utterances': 12, 'words': 12}
    (folder / 'hypotheses').mkdir(exist_ok=True)
    for split in splits:
        lines = [
            {'id': f'{split}-{i}', 'speaker': f's{i % 6}', 'reference': REFERENCE, 'hypothesis': REFERENCE[n:]}
            for i, n in enumerate(errors)
        ]
        text = '\n'.join(json.dumps(line | {'seconds': 1.0}) for line in lines)
        (folder / 'hypotheses' / f'{split}.jsonl').write_text(text + '\n')
    (folder / 'config.json').write_text(json.dumps(config))
    budget = {'labelled_hours': 0.5, 'unlabelled_hours': 1.0, 'wall_seconds': 10.0, 'flops': 1e12}
    about = {'strategy': config['strategy']['name'], 'seed': config['seed'], 'steps': 8, 'best_step': 7}
    summary = about | {'splits': dict.fromkeys(splits, rates), 'budget': budget}
    (folder / 'summary.json').write_text(json.dumps(summary))


if __name__ == '__main__':
    main(Path(sys.argv[1]))
