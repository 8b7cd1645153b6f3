"""The outputs of an encoder's layers on a split, kept in memory."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bljust_jax.build import System, build_recognizer
from bljust_jax.checkpoint import Checkpoints, abstract_like
from bljust_jax.data.dataset import data_dir_of, load_split
from bljust_jax.data.mixture import parse_mixture
from bljust_jax.data.pipeline import eval_batches, to_device
from bljust_jax.data.plan import make_eval_plan
from bljust_jax.data.subset import join, part_of
from bljust_jax.data.text import Tokenizer
from bljust_jax.errors import UserError
from bljust_jax.features import log_mel
from bljust_jax.masking import zero_padding
from bljust_jax.models import encode_context, encode_latents, widths
from bljust_jax.types import Batch, Params
from bljust_jax.workdir import read_config, read_tokenizer

BATCH_SECONDS = 60.0  # of audio, padding included; it is part of what a probe's steps are


class TrainedEncoder(NamedTuple):
    """The encoder of a run.

    Attributes:
      system: of the run, as far as its encoder is concerned.
      tokenizer: of the run.
      params: `{'encoder': ...}`.
      step: that they are of.
    """

    system: System
    tokenizer: Tokenizer
    params: Params
    step: int


class Outputs(NamedTuple):
    """What the layers of an encoder make of a split, batch by batch, on the host.

    Attributes:
      layers: float32 `[row, time, width]` of each batch, by number: 0 is the front end, and the last layer is what
        heads see, normalised where the encoder does that. Padding is 0.
      lengths: valid frames of each row, int32 `[row]` of each batch; 0 in rows that only fill up the batch.
      labels: int32 `[row, label]` of each batch.
      label_lengths: int32 `[row]` of each batch.
      texts: the transcript of each row; empty in rows that only fill up the batch.
      hours: of audio.
    """

    layers: Mapping[int, list[np.ndarray]]
    lengths: list[np.ndarray]
    labels: list[np.ndarray]
    label_lengths: list[np.ndarray]
    texts: list[list[str]]
    hours: float

    def frames(self, layer: int) -> np.ndarray:
        """The valid frames of a layer, `[frame, width]`."""
        batches = zip(self.layers[layer], self.lengths, strict=True)
        return np.concatenate([batch[np.arange(batch.shape[1]) < lengths[:, None]] for batch, lengths in batches])


def load_encoder(workdir: Path, checkpoint: str = 'best') -> TrainedEncoder:
    """Loads the encoder of the run in `workdir`, whatever its phases and objectives are, and how far it has come.

    Args:
      workdir: the run's folder; the run may be going on.
      checkpoint: `best` on dev, `latest`, `initial` for the untrained encoder that the run began with, or the number
        of a step that there is a checkpoint of.

    Raises:
      UserError: if there is no such run or checkpoint.
    """
    config, tokenizer = read_config(workdir), read_tokenizer(workdir)
    system = build_recognizer(config, tokenizer.vocab_size)
    if checkpoint == 'initial':
        return TrainedEncoder(system, tokenizer, {'encoder': system.init_params(jnp.int32(config.seed))['encoder']}, 0)
    abstract = jax.eval_shape(system.init_params, config.seed)
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    wanted = {'encoder': abstract_like(abstract['encoder'], jax.tree.map(lambda _: device, abstract['encoder']))}
    with Checkpoints(workdir, select=config.eval.criterion, keep=config.keep_checkpoints, cleanup=False) as checkpoints:
        step, params = checkpoints.restore_params(wanted, checkpoint)
    return TrainedEncoder(system, tokenizer, params, step)


def outputs_of(trained: TrainedEncoder, split: str, layers: str = 'all', hours: float = 1.0) -> Outputs:
    """The outputs of the encoder's layers on a transcribed split, without augmentation or dropout.

    Args:
      trained: the encoder.
      split: of the corpus of its run, or several as in `config.data.labelled`; weights do not count.
      layers: `all`, or `last` for the last alone.
      hours: the most audio that is taken (but for an utterance). Of a longer split it is a part, the same for all runs.

    Raises:
      UserError: if the split does not exist, is not prepared, or has no transcripts.
    """
    config = trained.system.config
    ingredients = parse_mixture(split, config.data.corpus, 'split')
    whole = join([load_split(data_dir_of(config.data), one.corpus, one.split) for one in ingredients])
    if not whole.characters.any():
        raise UserError(f'{whole.corpus} has no transcripts of {split}: a probe learns from transcripts.')
    part = part_of(whole, hours) if hours < whole.hours else whole
    plan = make_eval_plan(part.samples, part.characters, batch_seconds=BATCH_SECONDS, buckets=config.eval.buckets)
    run = layer_function(trained, layers)
    outputs = Outputs({number: [] for number in _numbers(trained, layers)}, [], [], [], [], part.hours)
    read = eval_batches(part, plan, trained.tokenizer, workers=config.data.workers)
    for records, batch, results in to_device(read, lambda read: (*read, run(trained.params, read[1]))):
        by_layer, lengths = jax.device_get(results)
        for kept, layer in zip(outputs.layers.values(), by_layer, strict=True):
            kept.append(layer)
        outputs.lengths.append(lengths)
        outputs.labels.append(np.asarray(batch.labels))
        outputs.label_lengths.append(np.asarray(batch.label_lengths))
        outputs.texts.append([part.source[record]['text'] if record >= 0 else '' for record in records.tolist()])
    return outputs


def layer_function(
    trained: TrainedEncoder, layers: str = 'all'
) -> Callable[[Params, Batch], tuple[list[jax.Array], jax.Array]]:
    """Jitted `(params, batch) -> (output [row, time, width] of each layer, lengths [row])`."""
    encoder, config = trained.system.encoder, trained.system.config

    @jax.jit
    def run(params: Params, batch: Batch) -> tuple[list[jax.Array], jax.Array]:
        features, lengths = log_mel(batch.audio, batch.lengths, config.log_mel)
        latents, lengths = encode_latents(encoder, params, features, lengths, dtype=config.compute_dtype)
        hidden, between = encode_context(encoder, params, latents, lengths, dtype=config.compute_dtype)
        chosen = [latents, *between[:-1], hidden] if layers == 'all' else [hidden]
        return [zero_padding(layer, lengths) for layer in chosen], lengths

    return run


def _numbers(trained: TrainedEncoder, layers: str) -> range:
    """The numbers of `all` layers of the encoder, or of the `last`."""
    last = len(widths(trained.system.encoder, trained.system.config.log_mel.mels).layers)
    return range(0 if layers == 'all' else last, last + 1)
