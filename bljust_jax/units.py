r"""Makes the units that HuBERT predicts: k-means of the unlabelled split, in one pass.

    python -m bljust_jax.units --config=configs/conformer.py --out=FILE.npz --clusters=100
    python -m bljust_jax.units --config=... --config.teacher.workdir=RUN --config.hubert.layer=4 --out=FILE.npz

The first clusters MFCC, the second the output of a layer of a trained run. Batches are those that training would draw
in its first epoch; transcripts are not read. Stopped, the same command goes on, and ends with the same units.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from absl import flags, logging
from ml_collections import config_flags

from bljust_jax import cli
from bljust_jax.clustering import KMeans
from bljust_jax.config import SAMPLE_RATE, Config
from bljust_jax.data.units import load_arrays, save_arrays
from bljust_jax.errors import UserError
from bljust_jax.types import Batch, Params

FIT_FRAMES = 10_000  # frames, or more, to a step of k-means
SAVE_EVERY = 10  # steps


class Source(NamedTuple):
    """The frames to cluster.

    Attributes:
      batches: pairs of frames `[frame, feature]` and their seconds of audio, from a number on, for the first epoch.
      total: number of batches of the epoch.
      words: `unit_source`.
      teacher: SHA-256 of the teacher's parameters; empty without one.
    """

    batches: Iterator[tuple[np.ndarray, float]]
    total: int
    words: str
    teacher: str


def make_units(config: Config, out: Path, clusters: int, save_every: int = SAVE_EVERY) -> None:
    """Writes the units of the unlabelled split to `out`, going on from `out` + '.partial' if there is one.

    Args:
      config: of the run that will use them.
      out: the file.
      clusters: number of units.
      save_every: steps of k-means, each of `FIT_FRAMES` frames or somewhat more, after which its state is saved.

    Raises:
      UserError: for what the user can mend.
    """
    partial = out.with_name(f'{out.name}.partial')
    if not out.parent.is_dir() or out.is_dir():
        raise UserError(f'--out={out} is no file in a folder that exists.')
    state = load_arrays(partial) if partial.exists() else {}
    first = int(state.get('batches', 0))
    source = open_source(config, first)
    identity = json.dumps({'source': source.words, 'teacher': source.teacher, 'clusters': clusters, **_data(config)})
    if out.exists():
        if str(load_arrays(out).get('identity')) != identity:
            raise UserError(f'--out={out} holds other units: delete it, or name another file.')
        logging.info('%s is there already: nothing is done.', out)
        return
    if state and str(state['identity']) != identity:
        raise UserError(f'{partial} is of other units, half made: delete it, or choose another --out.')
    kmeans = KMeans.restore(state, config.seed) if state else KMeans(clusters, config.seed)
    if state:
        logging.info('Going on after batch %d of %d.', first, source.total)
    waiting: list[np.ndarray] = []
    progress = _Progress(source.total, first)
    for done, (frames, seconds) in enumerate(source.batches, first + 1):
        waiting.append(frames)
        progress(done, seconds)
        if sum(map(len, waiting)) < max(FIT_FRAMES, clusters):
            continue
        kmeans.update(np.concatenate(waiting))
        waiting.clear()
        if kmeans.steps % save_every == 0:
            save_arrays(partial, **kmeans.arrays(), batches=done, identity=identity)
    left = np.concatenate(waiting) if waiting else np.zeros((0, 1))
    if kmeans.steps == 0 and len(left) < clusters:
        raise UserError(f'--clusters={clusters} are more than the {len(left)} frames of the split.')
    if len(left):
        kmeans.update(left)
    save_arrays(out, centroids=kmeans.centroids, source=source.words, teacher=source.teacher, identity=identity)
    partial.unlink(missing_ok=True)


def open_source(config: Config, start: int) -> Source:
    """The frames of `config`'s unlabelled split, from batch `start` of the first epoch on."""
    from bljust_jax.build import build_recognizer, teacher_config
    from bljust_jax.data.dataset import data_dir_of
    from bljust_jax.data.pipeline import stream
    from bljust_jax.evaluate import restore_best_params
    from bljust_jax.masking import length_mask
    from bljust_jax.models import hidden_width, make_encoder
    from bljust_jax.objectives.hubert import unit_frames, unit_source
    from bljust_jax.objectives.setup import Setup
    from bljust_jax.prepare import prepare_corpus
    from bljust_jax.sharding import make_mesh
    from bljust_jax.strategies import LOWER, UPPER
    from bljust_jax.streams import plan_stream
    from bljust_jax.teacher import digest
    from bljust_jax.workdir import read_tokenizer

    encoder = make_encoder(config)
    teacher = teacher_config(config) if config.hubert.layer else None
    setup = Setup(
        LOWER,
        config,
        encoder,
        hidden_width(encoder, config.log_mel.mels),
        vocab_size=2,
        upper=UPPER,
        teacher=make_encoder(teacher) if teacher else None,
    )
    frames_of = unit_frames(setup)
    params: Params = {}
    sha256 = ''
    if teacher:
        folder = Path(config.teacher.workdir).expanduser()
        recognizer = build_recognizer(teacher, read_tokenizer(folder).vocab_size)
        _, params = restore_best_params(folder, recognizer, make_mesh(config.mesh))
        sha256 = digest(params)
    prepare_corpus(config.data.corpus, data_dir_of(config.data))
    split, plan = plan_stream(config, LOWER)

    @jax.jit
    def compute(params: Params, batch: Batch) -> tuple[jax.Array, jax.Array]:
        frames, lengths = frames_of(params, batch)
        return frames, length_mask(lengths, frames.shape[1])

    def batches() -> Iterator[tuple[np.ndarray, float]]:
        read = stream(split, plan, None, start=start, workers=config.data.workers)
        for _, batch in zip(range(start, plan.steps_per_epoch), read, strict=False):
            frames, valid = jax.device_get(compute(params, batch))
            yield frames[valid].astype(np.float32), float(batch.lengths.sum()) / SAMPLE_RATE

    return Source(batches(), plan.steps_per_epoch, unit_source(setup), sha256)


class _Progress:
    """Logs how far the pass is, every few seconds, with rate and time to go."""

    def __init__(self, total: int, first: int, every_seconds: float = 5.0):
        self._total, self._first, self._every = total, first, every_seconds
        self._seconds, self._start = 0.0, time.monotonic()
        self._next = self._start + every_seconds

    def __call__(self, done: int, seconds: float) -> None:
        self._seconds += seconds
        now = time.monotonic()
        if now >= self._next or done == self._total:
            self._next = now + self._every
            spent = max(now - self._start, 1e-6)
            logging.info(
                'Batch %d of %d, %.0f h of speech an hour, %.0f s to go.',
                done,
                self._total,
                self._seconds / spent,
                (self._total - done) * spent / (done - self._first),
            )


def _data(config: Config) -> dict[str, object]:
    """What the batches depend on."""
    unlabelled = ('unlabelled', 'unlabelled_hours', 'unlabelled_batch_seconds', 'unlabelled_buckets')
    names = 'corpus', *unlabelled, 'crop_seconds', 'speeds'
    return {'seed': config.seed} | {name: getattr(config.data, name) for name in names}


def main(argv: list[str]) -> None:
    """Reads the flags and makes the units."""
    cli.refuse_arguments(argv)
    out = Path(_OUT.value).expanduser()
    config = cli.config_of(_CONFIG)
    make_units(config, out, _CLUSTERS.value)
    print(f'{_CLUSTERS.value} units are in {out}: train with --config.hubert.units={out}')


if __name__ == '__main__':
    _CONFIG = config_flags.DEFINE_config_file(
        'config', None, 'Config file, with a preset after a colon; --config.FIELD=VALUE overrides any field.'
    )
    _OUT = flags.DEFINE_string('out', None, 'The file to write, .npz.', required=True)
    _CLUSTERS = flags.DEFINE_integer('clusters', 100, 'Number of units.', lower_bound=2)
    flags.mark_flag_as_required('config')
    cli.run(main)
