"""Conformer-CTC trained with BL-JUST.

    python -m bljust_jax.main --config=configs/conformer.py[:PRESET] --workdir=DIR

mini (default)   telephone prompts, 7 minutes on two cores: test WER 70%, CER 30%
smoke            a made-up language, 48 steps: for tests and for trying a change
amazon_queen     1.0 h labelled + 2.4 h unlabelled game dialogue, 90 minutes on two cores: dev CER 45%
synthetic_voices 0.3 h labelled + 10 h unlabelled synthetic speech, 8 minutes supervised: test CER 22%
librispeech      the papers' setting, 100 h labelled + 860 h unlabelled; has been compiled, not trained
librispeech_500  the same with 500 h unlabelled, of train-other-500
librispeech_360  the same with 360 h unlabelled, of train-clean-360
tedlium2         the same model on TED-LIUM 2, 207 h labelled, the same unlabelled
switchboard      the same model on Switchboard, 260 h labelled, the same unlabelled

`--config.encoder=fast_conformer` or `e_branchformer` puts another encoder of about the same size in its place, from
`librispeech` on that of its paper. FastConformer has half as many frames: give it `--config.log_mel.hop=0.005` for
letters.
"""

import dataclasses

from bljust_jax import config as c
from bljust_jax.config.presets import papers, preset_getter

_SPEEDS = (0.88, 0.94, 1.0, 1.06, 1.12)
# Frames of 30 ms after subsampling: at 40 ms, letters of quick speech share frames, and CER is three points higher.
_HOP = 0.0075
# For rows of about four seconds, heard forty times or more.
_MASKS = c.SpecAugmentConfig(frequency_masks=2, frequency_width=27, time_masks=4, time_width=27, time_ratio=0.08)
_LEVELS = c.LevelsConfig(unsup=c.LevelConfig('best_rq', gamma_max=0.5))


def mini() -> c.Config:
    """The telephone prompts, 0.2 h labelled and 1.6 h unlabelled."""
    return c.Config(
        data=c.DataConfig(
            batch_seconds=24.0,
            unlabelled_batch_seconds=8.0,
            pack_seconds=8.0,
            buckets=1,
            max_seconds=8.0,
            speeds=_SPEEDS,
        ),
        log_mel=c.LogMelConfig(hop=_HOP, high_hz=4000.0),
        spec_augment=dataclasses.replace(_MASKS, time_masks=8, time_ratio=0.04),
        conformer=c.ConformerConfig(layers=4, width=176, heads=2, channels=176, dropout=0.15),
        fast_conformer=c.FastConformerConfig(layers=4, width=176, heads=2, channels=64, dropout=0.15),
        e_branchformer=c.EBranchformerConfig(layers=4, width=176, heads=2, channels=176, dropout=0.15),
        best_rq=c.BestRqConfig(codebook_size=512),
        levels=_LEVELS,
        strategy=c.StrategyConfig(labelled_steps=1450, explore_steps=40, finetune_steps=1200, cycles=4),
        optimizer=c.OptimizerConfig(learning_rate=2e-3, warmup_steps=50, weight_decay=0.05),
        eval=c.EvalConfig(every_steps=300),
        log_every_steps=50,
    )


def smoke() -> c.Config:
    """A tiny model on whistled letters."""
    return c.Config(
        data=c.DataConfig(
            corpus='smoke',
            batch_seconds=8.0,
            unlabelled_batch_seconds=8.0,
            buckets=1,
            max_seconds=4.0,
            crop_seconds=2.0,
            speeds=(1.0,),
        ),
        log_mel=c.LogMelConfig(mels=40, high_hz=4000.0),
        spec_augment=c.SpecAugmentConfig(frequency_width=4, time_width=4),
        conformer=c.ConformerConfig(layers=2, width=32, heads=2, expansion=2, kernel=7, channels=32),
        fast_conformer=c.FastConformerConfig(layers=2, width=32, heads=2, expansion=2, kernel=5, channels=16),
        e_branchformer=c.EBranchformerConfig(layers=2, width=32, heads=2, kernel=7, merge_kernel=3, channels=32),
        best_rq=c.BestRqConfig(codebook_size=64),
        strategy=c.StrategyConfig(labelled_steps=40, explore_steps=8, finetune_steps=10, cycles=2),
        optimizer=c.OptimizerConfig(warmup_steps=5),
        eval=c.EvalConfig(every_steps=24, batch_seconds=16.0, buckets=1),
        log_every_steps=8,
        checkpoint_every_steps=12,
    )


def amazon_queen() -> c.Config:
    """The game dialogue, 43 voices, 1.0 h labelled and 2.4 h unlabelled."""
    return c.Config(
        data=c.DataConfig(
            corpus='amazon_queen',
            batch_seconds=32.0,
            unlabelled_batch_seconds=16.0,
            pack_seconds=4.0,
            buckets=3,
            max_seconds=12.0,
            speeds=_SPEEDS,
        ),
        log_mel=c.LogMelConfig(hop=_HOP, high_hz=5500.0),
        spec_augment=_MASKS,
        conformer=c.ConformerConfig(layers=6, width=192, heads=2, dropout=0.15),
        fast_conformer=c.FastConformerConfig(layers=6, width=192, heads=2, channels=64, dropout=0.15),
        e_branchformer=c.EBranchformerConfig(layers=6, width=192, heads=2, dropout=0.15),
        best_rq=c.BestRqConfig(codebook_size=512),
        levels=_LEVELS,
        strategy=c.StrategyConfig(labelled_steps=8000, explore_steps=50, finetune_steps=3400, cycles=5),
        optimizer=c.OptimizerConfig(learning_rate=1e-3, warmup_steps=100, weight_decay=0.05),
        eval=c.EvalConfig(every_steps=500, splits=('dev', 'test', 'test_unseen')),
        log_every_steps=50,
        checkpoint_every_steps=500,
    )


def synthetic_voices() -> c.Config:
    """Synthetic speech of eSpeak NG, 0.3 h of 8 voices labelled and 10 h of 80 voices unlabelled."""
    return dataclasses.replace(
        mini(),
        data=c.DataConfig(
            corpus='synthetic_voices',
            batch_seconds=24.0,
            unlabelled_batch_seconds=16.0,
            pack_seconds=8.0,
            buckets=1,
            max_seconds=8.0,
            speeds=(0.94, 1.0, 1.06),
        ),
        log_mel=c.LogMelConfig(hop=_HOP),
        eval=c.EvalConfig(every_steps=300, splits=('dev', 'test')),
    )


def librispeech() -> c.Config:
    """The paper's scale: Conformer 8 x 512 x 8, pieces, CPC with 2 s of context and 1 s of future."""
    return c.Config(
        data=c.DataConfig(
            corpus='librispeech',
            labelled='train_clean_100',
            unlabelled='train_clean_360,train_other_500',
            batch_seconds=1600.0,
            unlabelled_batch_seconds=1600.0,
            buckets=6,
            max_seconds=20.0,
            crop_seconds=15.0,
        ),
        tokenizer=c.TokenizerConfig(kind='unigram', vocab_size=1000),
        log_mel=c.LogMelConfig(mels=80),
        compute_dtype='bfloat16',
        conformer=c.ConformerConfig(layers=8, width=512, heads=8, kernel=31, channels=512, scan=True, remat='dots'),
        fast_conformer=c.FastConformerConfig(layers=18, width=512, heads=8, scan=True, remat='dots'),
        e_branchformer=c.EBranchformerConfig(layers=17, width=512, heads=8, channels=512, scan=True, remat='dots'),
        levels=c.LevelsConfig(
            sup=c.LevelConfig('ctc', learning_rate=1e-3), unsup=c.LevelConfig('cpc', learning_rate=1e-3)
        ),
        strategy=c.StrategyConfig(
            labelled_steps=100_000, explore_steps=20_000, finetune_steps=5_000, cycles=20, explore_rate=1.0
        ),
        optimizer=c.OptimizerConfig(learning_rate=1e-3, warmup_steps=5_000),
        eval=c.EvalConfig(
            every_steps=2_000,
            dev='dev_other',
            splits=('dev_clean', 'dev_other', 'test_clean', 'test_other'),
            buckets=6,
        ),
        log_every_steps=100,
        checkpoint_every_steps=2_000,
    )


PRESETS = {
    'mini': mini,
    'smoke': smoke,
    'amazon_queen': amazon_queen,
    'synthetic_voices': synthetic_voices,
    **papers(librispeech),
}
get_config = preset_getter('configs/conformer.py', PRESETS)
