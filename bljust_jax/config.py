"""The typed configuration: frozen dataclasses with defaults, and the way in from `ml_collections`.

A config file (`configs/*.py`) returns `to_config_dict(Config(...))`, so that absl flags such as
`--config.conformer.layers=4` override any field; `from_config_dict` turns the result back into a
checked `Config`. Code below this file only ever sees the dataclasses.
"""

import dataclasses
import difflib
import typing
from typing import Any

from ml_collections import ConfigDict, config_dict

from bljust_jax.config_checks import check
from bljust_jax.errors import UserError

SAMPLE_RATE = 16_000  # of all audio, in Hz


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which speech, and how it is cut into batches.

    Attributes:
      corpus: name of a prepared corpus (`python -m bljust_jax.prepare --help` lists them).
      data_dir: folder of prepared corpora; empty means the user's cache directory.
      labelled: split with transcripts, read by the upper level.
      unlabelled: split whose transcripts are never read, for the lower level.
      batch_seconds: audio per labelled batch, padding included, in seconds.
      unlabelled_batch_seconds: the same for the unlabelled stream.
      pack_seconds: shorter labelled utterances are strung together into rows of up to this; 0 gives each its own
        row. Unlabelled ones are strung together into rows of `crop_seconds`, but for CPC each has its own.
      buckets, unlabelled_buckets: number of different row lengths (compiled shapes) of each stream.
      max_seconds: longer labelled utterances are left out (counted in the log).
      crop_seconds: longer unlabelled utterances are cropped at random to this.
      speeds: speed-perturbation factors; an epoch passes over every record once at each.
      workers: reading threads of each stream.
    """

    corpus: str = 'phone_prompts'
    data_dir: str = ''
    labelled: str = 'train_labelled'
    unlabelled: str = 'train_unlabelled'
    batch_seconds: float = 64.0
    unlabelled_batch_seconds: float = 64.0
    pack_seconds: float = 8.0
    buckets: int = 2
    unlabelled_buckets: int = 1
    max_seconds: float = 20.0
    crop_seconds: float = 8.0
    speeds: tuple[float, ...] = (0.9, 1.0, 1.1)
    workers: int = 2


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """`kind`: char, unigram or bpe (SentencePiece); `vocab_size` (blank included) is for the last two."""

    kind: str = 'char'
    vocab_size: int = 256


@dataclasses.dataclass(frozen=True)
class LogMelConfig:
    """Log-mel filterbank: window and hop in seconds, band edges in Hz.

    `normalize` brings each mel of each utterance to mean 0 and standard deviation 1.
    """

    mels: int = 80
    window: float = 0.025
    hop: float = 0.010
    fft_size: int = 512
    low_hz: float = 20.0
    high_hz: float = 8000.0
    normalize: bool = True


@dataclasses.dataclass(frozen=True)
class SpecAugmentConfig:
    """SpecAugment (arXiv 1904.08779): masks' number and largest width, in mels and in frames.

    `time_ratio` bounds a time mask by this fraction of the utterance, for short ones.
    """

    frequency_masks: int = 2
    frequency_width: int = 20
    time_masks: int = 2
    time_width: int = 40
    time_ratio: float = 0.1


@dataclasses.dataclass(frozen=True)
class ConformerConfig:
    """Conformer (arXiv 2005.08100), after convolutional subsampling by 4.

    Attributes:
      layers, width, heads, kernel: blocks, model dimension, attention heads, depthwise kernel.
      expansion: feed-forward width as a multiple of `width`.
      channels: channels of the convolutional subsampling.
      norm: normalisation inside the convolution module, layer or group.
      dropout: dropout rate, residual branches.
      scan: compile one block and loop over it: for deep models on accelerators.
      remat: what a block computes again in the backward pass instead of keeping it: none; dots, all but the products
        with weights; or full, everything.
    """

    layers: int = 8
    width: int = 128
    heads: int = 4
    expansion: int = 4
    kernel: int = 15
    channels: int = 256
    norm: str = 'layer'
    dropout: float = 0.1
    scan: bool = False
    remat: str = 'none'


@dataclasses.dataclass(frozen=True)
class BestRqConfig:
    """BEST-RQ (arXiv 2202.01855): masked prediction of frozen random-projection codes.

    Attributes:
      codebooks, codebook_size, code_dim: random quantisers, entries in each, dimension of an entry.
      mask_probability: chance of an encoder frame to begin a masked span.
      mask_frames: length of a masked span, in encoder frames.
      noise: standard deviation of the noise that replaces masked features.
      seed: seed of the quantiser (frozen, so part of the task's definition).
    """

    codebooks: int = 1
    codebook_size: int = 1024
    code_dim: int = 16
    mask_probability: float = 0.04
    mask_frames: int = 10
    noise: float = 0.1
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class CpcConfig:
    """CPC (arXiv 1807.03748) on windows of past and future, as in arXiv 2401.06980.

    Attributes:
      context_seconds, future_seconds: a window's past, and the future predicted from it frame by frame.
      negatives: frames of the whole batch drawn against each true one.
      dim: dimension in which prediction and target are compared.
      temperature: softmax temperature on their cosine similarity.
    """

    context_seconds: float = 2.0
    future_seconds: float = 1.0
    negatives: int = 50
    dim: int = 128
    temperature: float = 0.1


@dataclasses.dataclass(frozen=True)
class DistillationConfig:
    """A teacher for the level `distill`: another run, frozen, or the moving average of the student (arXiv 1703.01780).

    Attributes:
      teacher: folder of the trained run whose best checkpoint teaches; empty with a momentum teacher.
      momentum: of the moving average, such as 0.999; 0 if a run is the teacher.
      feature_weight: of the distance between hidden frames, the student's projected by the level's head.
      posterior_weight: of the divergence between CTC posteriors; 0 leaves them out, and the teacher may then have
        another vocabulary.
      temperature: of these posteriors (arXiv 1503.02531).
    """

    teacher: str = ''
    momentum: float = 0.0
    feature_weight: float = 1.0
    posterior_weight: float = 1.0
    temperature: float = 1.0


@dataclasses.dataclass(frozen=True)
class LevelConfig:
    """One level. The fields after `learning_rate` are about its penalty weight γ, and unused for the upper level.

    Attributes:
      objective: name of its loss.
      learning_rate: peak step size of its head (β for the upper level, ρ for a lower one).
      gamma: how γ is found: from a schedule of the joint steps (constant, linear or exponential), from the value gap
        (dual_ascent, which waits while the loss falls), or relative to the γ at which the level's gradient on the
        encoder is as long as the one above (balance: constant; invariant: rising linearly), without a bound.
      gamma_max: the γ that a schedule ends at, and the largest of dual ascent; of balance and invariant, the relative
        one.
      gamma_every: joint steps after which a schedule goes on, such as those of an epoch.
      gamma_decay: of the moving averages of the gradients' norms (balance, invariant).
      gamma_min: the γ that dual ascent begins at, and its smallest.
      gamma_step: what dual ascent adds to γ at a step in which the value gap is 1 above `gap_tolerance`.
      gap_tolerance: the value gap at which dual ascent leaves γ as it is.
    """

    objective: str
    learning_rate: float = 1e-3
    gamma: str = 'linear'
    gamma_max: float = 1.0
    gamma_every: int = 1
    gamma_decay: float = 0.9
    gamma_min: float = 0.0
    gamma_step: float = 0.01
    gap_tolerance: float = 0.0


@dataclasses.dataclass(frozen=True)
class LevelsConfig:
    """The levels, upper-most first: the order of the fields is the order of nesting.

    `distill` is there in a strategy that uses it; every run has the others.
    """

    sup: LevelConfig = LevelConfig('ctc')
    unsup: LevelConfig = LevelConfig('best_rq')
    distill: LevelConfig = LevelConfig('distillation')


@dataclasses.dataclass(frozen=True)
class StrategyConfig:
    """Strategy and budget.

    Attributes:
      name: bl_just, tl_sud, supervised, pretrain_finetune or joint.
      labelled_steps: steps that use a labelled batch, whatever the strategy.
      explore_steps: self-supervised exploration steps in all (bl_just, tl_sud).
      finetune_steps: how many of the labelled steps are the final supervised fine-tuning (bl_just, tl_sud).
      cycles: number of [explore, joint] cycles (bl_just, tl_sud).
      explore_rate: step sizes of exploration, as a fraction of the joint steps' (bl_just, tl_sud). AdamW's steps are
        of one length whatever γ, and at full length, exploration undoes what a small model has learnt from few
        transcripts.
    """

    name: str = 'bl_just'
    labelled_steps: int = 1000
    explore_steps: int = 200
    finetune_steps: int = 200
    cycles: int = 4
    explore_rate: float = 0.1


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW, one for the encoder and one for each head.

    Attributes:
      learning_rate: peak step size α of the encoder (the heads' are in their levels).
      warmup_steps: linear warm-up of every stage.
      final_ratio: learning rate at the end of a stage, as a fraction of the peak (cosine decay).
      b1, b2, weight_decay: of AdamW; decay leaves biases and normalisation alone.
      clip: largest gradient norm of the encoder and of each head.
      combine: what makes one direction of the levels' gradients on the encoder: penalty, or a multi-objective
        alternative to it (weighted_sum, alternating, pcgrad, mgda, cagrad, modo), which takes γ g for the gradient of a
        lower level. Published, these know no γ: `gamma='constant'` and `gamma_max=1` give that form.
    """

    learning_rate: float = 5e-4
    warmup_steps: int = 100
    final_ratio: float = 0.01
    b1: float = 0.9
    b2: float = 0.98
    weight_decay: float = 0.01
    clip: float = 5.0
    combine: str = 'penalty'


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices along the `data` and `fsdp` axes; `data=-1` takes all that are left."""

    data: int = -1
    fsdp: int = 1


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """Evaluation: every `every_steps` on `dev`; the best checkpoint by `select` is scored on `splits` at the end.

    Batches have `batch_seconds` of audio, padding included, in at most `buckets` shapes a split.
    """

    every_steps: int = 200
    dev: str = 'dev'
    splits: tuple[str, ...] = ('dev', 'test')
    select: str = 'cer'
    batch_seconds: float = 120.0
    buckets: int = 3


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole run.

    Attributes:
      seed: of initialisation, data order, augmentation and dropout.
      encoder: name of the encoder; its sizes are in the field of that name.
      compute_dtype: what the encoder computes in, float32 or bfloat16: for accelerators. Parameters, gradients,
        optimiser state, norms' statistics, softmax, heads and losses are float32 all the same.
      log_every_steps: between progress lines.
      checkpoint_every_steps: between checkpoints.
      keep_checkpoints: newest checkpoints kept, besides the best one.
    """

    seed: int = 0
    encoder: str = 'conformer'
    compute_dtype: str = 'float32'
    data: DataConfig = DataConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    log_mel: LogMelConfig = LogMelConfig()
    spec_augment: SpecAugmentConfig = SpecAugmentConfig()
    conformer: ConformerConfig = ConformerConfig()
    best_rq: BestRqConfig = BestRqConfig()
    cpc: CpcConfig = CpcConfig()
    distillation: DistillationConfig = DistillationConfig()
    levels: LevelsConfig = LevelsConfig()
    strategy: StrategyConfig = StrategyConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    mesh: MeshConfig = MeshConfig()
    eval: EvalConfig = EvalConfig()
    log_every_steps: int = 20
    checkpoint_every_steps: int = 200
    keep_checkpoints: int = 2

    def __post_init__(self) -> None:
        check(self)


def to_config_dict(config: Config) -> ConfigDict:
    """The config as a locked `ConfigDict`, whose fields absl flags can override."""
    return config_dict.ConfigDict(dataclasses.asdict(config)).lock()


def from_config_dict(values: ConfigDict | dict[str, Any]) -> Config:
    """The checked `Config` of a `ConfigDict` or of a run's `config.json`.

    Raises:
      UserError: for a field that does not exist, a wrong type or a value out of range.
    """
    return _build(Config, values.to_dict() if isinstance(values, ConfigDict) else values, 'config')


def _build(cls: type, values: Any, path: str) -> Any:
    if not isinstance(values, dict):
        raise UserError(f'{path} must be a group of fields, not {values!r}.')
    hints = typing.get_type_hints(cls)
    for name in values:
        if name not in hints:
            close = difflib.get_close_matches(name, hints, 1)
            raise UserError(
                f'There is no config field {path}.{name}'
                + (f': did you mean {path}.{close[0]}?' if close else f'; {path} has {", ".join(hints)}.')
            )
    arguments = {name: _convert(hints[name], value, f'{path}.{name}') for name, value in values.items()}
    return cls(**arguments)


def _convert(hint: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, path)
    if typing.get_origin(hint) is tuple:
        element = typing.get_args(hint)[0]
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(_convert(element, item, path) for item in items)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise UserError(f'{path} must be {hint.__name__}, not {value!r}.')
    return value
