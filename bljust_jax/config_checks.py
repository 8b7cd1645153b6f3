"""What the values of a config must satisfy, field by field and together."""

import dataclasses
from typing import Any

from bljust_jax.errors import UserError

_GAMMAS = ('constant', 'linear', 'exponential', 'dual_ascent', 'balance', 'invariant')
_CHOICES = {
    'compute_dtype': ('float32', 'bfloat16'),
    'strategy.name': ('bl_just', 'tl_sud', 'supervised', 'pretrain_finetune', 'joint'),
    'tokenizer.kind': ('char', 'unigram', 'bpe'),
    'conformer.norm': ('layer', 'group'),
    'conformer.remat': ('none', 'dots', 'full'),
    'optimizer.combine': ('penalty', 'weighted_sum', 'alternating', 'pcgrad', 'mgda', 'cagrad', 'modo'),
    'eval.select': ('cer', 'wer'),
    'eval.decoder': ('greedy', 'beam'),
}
_POSITIVE = (
    'data.batch_seconds data.unlabelled_batch_seconds data.buckets data.unlabelled_buckets data.max_seconds '
    'data.crop_seconds data.workers log_mel.mels log_mel.window log_mel.hop conformer.layers conformer.width '
    'conformer.heads conformer.expansion conformer.kernel conformer.channels best_rq.codebooks best_rq.codebook_size '
    'best_rq.code_dim best_rq.mask_frames cpc.context_seconds cpc.future_seconds cpc.negatives cpc.dim '
    'cpc.temperature distillation.temperature strategy.labelled_steps strategy.cycles strategy.explore_rate '
    'optimizer.learning_rate optimizer.clip mesh.fsdp eval.every_steps eval.batch_seconds eval.buckets eval.beam '
    'log_every_steps checkpoint_every_steps keep_checkpoints'
).split()
_NOT_NEGATIVE = (
    'data.pack_seconds log_mel.low_hz spec_augment.frequency_masks spec_augment.frequency_width '
    'spec_augment.time_masks spec_augment.time_width spec_augment.time_ratio best_rq.noise best_rq.seed '
    'distillation.feature_weight distillation.posterior_weight '
    'strategy.explore_steps strategy.finetune_steps optimizer.warmup_steps optimizer.weight_decay eval.lm_weight seed'
).split()


def check(config: Any) -> None:
    """Checks a `Config`.

    Raises:
      UserError: naming the first field that is wrong, its value, and what it must be.
    """
    for path, choices in _CHOICES.items():
        _one_of(config, path, choices)
    for path in _POSITIVE:
        _require(_get(config, path) > 0, config, path, 'be positive')
    for path in _NOT_NEGATIVE:
        _require(_get(config, path) >= 0, config, path, 'be 0 or more')
    for field in dataclasses.fields(config.levels):
        _check_level(config, f'levels.{field.name}')
    _check_together(config)


def _check_level(config: Any, path: str) -> None:
    level = _get(config, path)
    _one_of(config, f'{path}.gamma', _GAMMAS)
    for name in ('learning_rate', 'gamma_every', 'gamma_step'):
        _require(getattr(level, name) > 0, config, f'{path}.{name}', 'be positive')
    for name in ('gamma_max', 'gamma_min', 'gap_tolerance'):
        _require(getattr(level, name) >= 0, config, f'{path}.{name}', 'be 0 or more')
    _require(0 <= level.gamma_decay < 1, config, f'{path}.gamma_decay', 'be in [0, 1)')
    _require(
        level.gamma_min <= level.gamma_max,
        config,
        f'{path}.gamma_min',
        f'be at most config.{path}.gamma_max ({level.gamma_max})',
    )


def _check_together(config: Any) -> None:
    data, features, conformer, strategy = config.data, config.log_mel, config.conformer, config.strategy
    _require(config.seed < 2**31, config, 'seed', 'be below 2^31')
    _require(bool(data.speeds) and min(data.speeds, default=0) > 0, config, 'data.speeds', 'be positive numbers')
    _require(conformer.kernel % 2 == 1, config, 'conformer.kernel', 'be odd')
    _require(0 <= conformer.dropout < 1, config, 'conformer.dropout', 'be in [0, 1)')
    _require(0 <= config.best_rq.mask_probability <= 1, config, 'best_rq.mask_probability', 'be in [0, 1]')
    _require(config.mesh.data == -1 or config.mesh.data > 0, config, 'mesh.data', 'be positive, or -1 for all devices')
    _require(
        strategy.finetune_steps <= strategy.labelled_steps,
        config,
        'strategy.finetune_steps',
        f'be at most config.strategy.labelled_steps ({strategy.labelled_steps})',
    )
    _require(
        conformer.width % (2 * conformer.heads) == 0,
        config,
        'conformer.width',
        f'be a multiple of twice config.conformer.heads ({conformer.heads}) for the pairs of rotary positions',
    )
    _require(
        features.low_hz < features.high_hz <= 8000,
        config,
        'log_mel.high_hz',
        f'lie above config.log_mel.low_hz ({features.low_hz}) and not above 8000 (audio is at 16 kHz)',
    )
    _require(
        features.window * 16_000 <= features.fft_size,
        config,
        'log_mel.window',
        f'fit config.log_mel.fft_size ({features.fft_size} samples at 16 kHz)',
    )
    for name, unused in (('lm', ''), ('word_bonus', 0.0)):
        _require(
            config.eval.decoder == 'beam' or getattr(config.eval, name) == unused,
            config,
            f'eval.{name}',
            f'be {unused!r} unless config.eval.decoder is beam',
        )
    distillation = config.distillation
    _require(0 <= distillation.momentum < 1, config, 'distillation.momentum', 'be in [0, 1)')
    _require(
        not (distillation.teacher and distillation.momentum),
        config,
        'distillation.momentum',
        f'be 0 with config.distillation.teacher={distillation.teacher}: a run is the teacher, or a moving average',
    )
    _require(
        distillation.feature_weight + distillation.posterior_weight > 0,
        config,
        'distillation.feature_weight',
        'be positive if config.distillation.posterior_weight is 0',
    )
    uses_cpc = any(getattr(config.levels, field.name).objective == 'cpc' for field in dataclasses.fields(config.levels))
    _require(
        not uses_cpc or config.cpc.context_seconds + config.cpc.future_seconds < data.crop_seconds,
        config,
        'data.crop_seconds',
        'be longer than config.cpc.context_seconds and future_seconds together '
        f'({config.cpc.context_seconds} + {config.cpc.future_seconds})',
    )


def _get(config: Any, path: str) -> Any:
    for name in path.split('.'):
        config = getattr(config, name)
    return config


def _one_of(config: Any, path: str, choices: tuple[str, ...]) -> None:
    _require(_get(config, path) in choices, config, path, f'be one of {", ".join(choices)}')


def _require(satisfied: bool, config: Any, path: str, demand: str) -> None:
    if not satisfied:
        raise UserError(f'config.{path} must {demand}, not {_get(config, path)!r}.')
