"""How fast a prepared corpus is read, and how soon a large one begins.

    python -m benchmarks.reading [--corpus=synthetic_voices] [--split=train_unlabelled] [--repeats=9]

Timed by turns: all records of a split through the data source with two threads, the same through the pipeline as packed
batches without speed perturbation, and the bytes of its files alone. A made-up corpus of 100,000 records is then
planned and its first batch read. The targets are 1,500 utterances and 4 hours of audio a second for the records, and
10 s for the large corpus. The ratio is records / bytes.
"""

import argparse
import functools
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.side_by_side import Call, alternate, print_result
from bljust_jax.config import SAMPLE_RATE
from bljust_jax.data.dataset import Record, Split, default_data_dir, load_split, prepared_dir
from bljust_jax.data.pipeline import stream
from bljust_jax.data.plan import BatchPlan, make_plan

UTTERANCES_TARGET, HOURS_TARGET, START_TARGET = 1500, 4.0, 10.0
_THREADS, _LARGE = 2, 100_000


def records(corpus: str, split: str) -> Call:
    """Every record of the split, decoded."""
    source = load_split(default_data_dir(), corpus, split, text=False).source
    threads = ThreadPoolExecutor(_THREADS)
    return lambda: sum(threads.map(lambda index: len(source[index]['audio']), range(len(source))))


def batches(corpus: str, split: str) -> Call:
    """As many batches as an epoch of the split has."""
    whole = load_split(default_data_dir(), corpus, split, text=False)
    plan = _plan(whole.samples)

    def call() -> None:
        read = stream(whole, plan, None, workers=_THREADS)
        for _ in range(plan.steps_per_epoch):
            next(read)

    return call


def file_bytes(corpus: str, split: str) -> Call:
    """The files of the split."""
    folder = prepared_dir(default_data_dir(), corpus)
    return lambda: [len(path.read_bytes()) for path in folder.glob(f'*-{split}.array_record*')]


def start_of_large() -> float:
    """Seconds from the lengths of the large corpus to its first batch."""
    random = np.random.default_rng(0)
    samples = (SAMPLE_RATE * random.uniform(1.0, 20.0, _LARGE)).astype(np.int32)
    names = np.array([f'utterance-{number:06d}' for number in range(_LARGE)])
    split = Split('large', 'train', _Silence(samples), samples, np.zeros(_LARGE, np.int32), names)
    began = time.perf_counter()
    next(stream(split, _plan(samples), None))
    return time.perf_counter() - began


class _Silence:
    """Records of nothing."""

    def __init__(self, samples: np.ndarray):
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Record:
        return {'audio': np.zeros(self._samples[index], np.int16)}


def _plan(samples: np.ndarray) -> BatchPlan:
    return make_plan(samples, None, batch_seconds=160.0, buckets=4, max_seconds=20.0, crop=True, pack_seconds=20.0)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--corpus', default='synthetic_voices', help='a prepared corpus, in the default folder')
    parser.add_argument('--split', default='train_unlabelled')
    parser.add_argument('--repeats', type=int, default=9)
    options = parser.parse_args()
    split = load_split(default_data_dir(), options.corpus, options.split)
    setups = {'records': records, 'batches': batches, 'bytes': file_bytes}
    timings = alternate(
        {name: functools.partial(setup, options.corpus, options.split) for name, setup in setups.items()},
        repeats=options.repeats,
    )
    rates = {name: (len(split) / timing.median, split.hours / timing.median) for name, timing in timings.items()}
    for name, (utterances, hours) in rates.items():
        print(f'{name:<8}  {utterances:8,.0f} utterances a second  {hours:6.2f} h of audio a second')
    start = start_of_large()
    utterances, hours = rates['records']
    for name, value, target, met in (
        ('utterances a second', utterances, UTTERANCES_TARGET, utterances >= UTTERANCES_TARGET),
        ('hours a second', hours, HOURS_TARGET, hours >= HOURS_TARGET),
        (f'start of {_LARGE:,} records, s', start, START_TARGET, start <= START_TARGET),
    ):
        print(f'{name:<28}  {value:9.2f}  target {target}: {"met" if met else "missed"}')
    print_result(
        'reading',
        timings['records'].median / timings['bytes'].median,
        corpus=options.corpus,
        utterances_per_second=round(utterances),
        hours_per_second=round(hours, 2),
        batch_hours_per_second=round(rates['batches'][1], 2),
        start_seconds=round(start, 2),
        repeats=options.repeats,
    )


if __name__ == '__main__':
    main()
