"""Probing a run: from its folder to `probe_<checkpoint>.json`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import logging

from bljust_jax.data.dataset import data_dir_of
from bljust_jax.prepare import prepare_corpus
from bljust_jax.probe.linear import Score, probe_layer
from bljust_jax.probe.outputs import TrainedEncoder, load_encoder, outputs_of
from bljust_jax.workdir import write_json


def probe_file(checkpoint: str) -> str:
    """Name of what a probe of `checkpoint` is written to: those of others are not overwritten."""
    return f'probe_{checkpoint}.json'


def probe_run(
    workdir: Path, *, layers: str = 'all', steps: int = 300, hours: float = 1.0, checkpoint: str = 'best'
) -> list[Score]:
    """Probes the encoder of the run in `workdir`: learnt on the labelled split, scored on dev; writes `probe_file`.

    Args:
      workdir: the run's folder.
      layers: `all` or `last`.
      steps: of training a probe.
      hours: the most audio of either split, whose outputs are kept in memory.
      checkpoint: `best`, `latest`, `initial` or a step.

    Raises:
      UserError: if there is no such run, checkpoint or corpus.
    """
    trained = load_encoder(workdir, checkpoint)
    config = trained.system.config
    prepare_corpus(config.data.corpus, data_dir_of(config.data))
    logging.info('Probing the encoder of step %d.', trained.step)
    train, test = (outputs_of(trained, split, layers, hours) for split in (config.data.labelled, config.eval.dev))
    logging.info('Probes learn from %.2f h of %s: %d batches.', train.hours, config.data.labelled, len(train.lengths))
    scores = []
    for layer in train.layers:
        scores.append(probe_layer(train, test, layer, trained.tokenizer, steps))
        logging.info('Layer %d: loss %.3f, CER %.1f%%.', layer, scores[-1].loss, 100 * scores[-1].cer)
    write_json(workdir / probe_file(checkpoint), _record(trained, scores, checkpoint, steps, train.hours))
    return scores


def format_scores(scores: Sequence[Score]) -> str:
    """A table of probes: losses in nats a label, error rates in percent."""
    rows = [f'{"layer":>5}  {"width":>5}  {"train loss":>10}  {"dev loss":>8}  {"CER %":>6}  {"WER %":>6}']
    rows += [
        f'{s.layer:>5}  {s.width:>5}  {s.train_loss:>10.3f}  {s.loss:>8.3f}  {100 * s.cer:6.1f}  {100 * s.wer:6.1f}'
        for s in scores
    ]
    return '\n'.join(rows)


def _record(
    trained: TrainedEncoder, scores: Sequence[Score], checkpoint: str, steps: int, hours: float
) -> dict[str, Any]:
    """The content of `probe_file`."""
    config = trained.system.config
    return {
        'checkpoint': checkpoint,
        'step': trained.step,
        'steps': steps,
        'train': {'split': config.data.labelled, 'hours': round(hours, 4)},
        'split': config.eval.dev,
        'layers': [score._asdict() for score in scores],
    }
