"""The stream of batches that each level draws from: the labelled split for the upper one, the unlabelled for others."""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from absl import logging

from bljust_jax.config import SAMPLE_RATE, Config
from bljust_jax.data.augment import make_augmenter
from bljust_jax.data.dataset import Split
from bljust_jax.data.pipeline import measure_rate, stream, to_device
from bljust_jax.data.plan import BatchPlan, make_plan
from bljust_jax.data.subset import load_training_split
from bljust_jax.data.text import Tokenizer
from bljust_jax.strategies import UPPER
from bljust_jax.types import Batch


class Stream(NamedTuple):
    """A level's endless batches, as pairs of a batch on the devices and its seconds of audio.

    Attributes:
      batches: the iterator, at the position where training goes on.
      steps_per_epoch: batches in an epoch of the stream.
      hours_per_epoch: audio in an epoch.
      rate: seconds of audio that the pipeline alone delivers per second.
    """

    batches: Iterator[tuple[Batch, float]]
    steps_per_epoch: int
    hours_per_epoch: float
    rate: float


def plan_stream(config: Config, level: str, labels_per_character: float = 1.0) -> tuple[Split, BatchPlan]:
    """The split that `level` reads, or the part of it that the config asks for, and the plan of its batches.

    Transcripts are left unread unless it is the upper level; `labels_per_character` is that of the tokenizer.
    """
    data, labelled = config.data, level == UPPER
    split = load_training_split(data, labelled=labelled)
    plan = make_plan(
        split.samples,
        np.ceil(labels_per_character * split.characters) if labelled else None,
        batch_seconds=data.batch_seconds if labelled else data.unlabelled_batch_seconds,
        buckets=data.buckets if labelled else data.unlabelled_buckets,
        pack_seconds=_pack_seconds(config, level),
        max_seconds=data.max_seconds if labelled else data.crop_seconds,
        crop=not labelled,
        speeds=data.speeds,
        seed=config.seed,
    )
    return split, plan


# CPC must not predict one utterance from the end of another, and a decoder has to learn where one ends.
_UNPACKED = frozenset({'cpc', 'attention', 'hybrid'})


def _pack_seconds(config: Config, level: str) -> float:
    if getattr(config.levels, level).objective in _UNPACKED:
        return 0.0
    return config.data.pack_seconds if level == UPPER else config.data.crop_seconds


def open_stream(
    config: Config, level: str, tokenizer: Tokenizer, start: int, devices: int, put: Callable[[Batch], Batch]
) -> Stream:
    """The stream of `level`, from its batch number `start` on; logs what is in it.

    `devices` is the number of those that `put` spreads the rows over.
    """
    row_multiple = devices * config.optimizer.microbatches
    split, plan = plan_stream(config, level, tokenizer.labels_per_character)
    read = functools.partial(
        stream,
        split,
        plan,
        tokenizer if level == UPPER else None,
        augment=make_augmenter(config.augment, seed=config.seed, stream=level),
        workers=config.data.workers,
        row_multiple=row_multiple,
        host=jax.process_index(),
        hosts=jax.process_count(),
    )
    rate = measure_rate(read(start=start), min(plan.steps_per_epoch, 8))
    logging.info(
        '%s: %s, %.2f h in %d batches an epoch, %d dropped as too long, shapes (rows x s) %s, %.0f%% of it speech, '
        'rows filled up to a multiple of %d; the pipeline reads %.0f h/h.',
        level,
        split.name,
        plan.hours_per_epoch,
        plan.steps_per_epoch,
        plan.dropped,
        ' '.join(f'{shape.rows}x{shape.samples / SAMPLE_RATE:.2f}' for shape in plan.shapes),
        100 * plan.padding_efficiency(),
        row_multiple,
        rate,
    )
    batches = to_device(read(start=start), lambda batch: (put(batch), float(batch.lengths.sum()) / SAMPLE_RATE))
    return Stream(batches, plan.steps_per_epoch, plan.hours_per_epoch, rate)
