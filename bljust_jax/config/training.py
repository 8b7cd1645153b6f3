"""Levels, strategy, optimiser, guards, devices and evaluation."""

import dataclasses

from bljust_jax.config.fields import Demand, Demands, checked, choice, fraction, not_negative, positive, probability

# The strategies whose lower level is CTC on a teacher's labels, the teacher being the run itself.
PSEUDO_LABELLING = ('pseudo_label', 'noisy_student', 'momentum_pseudo_label')
_FINE_TUNED = ('bl_just', 'tl_sud', 'pretrain_finetune')


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
    learning_rate: float = positive(1e-3)
    gamma: str = choice('constant', 'linear', 'exponential', 'dual_ascent', 'balance', 'invariant', default='linear')
    gamma_max: float = not_negative(1.0)
    gamma_every: int = positive(1)
    gamma_decay: float = fraction(0.9)
    gamma_min: float = not_negative(0.0)
    gamma_step: float = positive(0.01)
    gap_tolerance: float = not_negative(0.0)

    def demands(self, path: str) -> Demands:
        """What the fields must satisfy together."""
        yield Demand(self.gamma_min <= self.gamma_max, 'gamma_min', f'be at most {path}.gamma_max ({self.gamma_max})')


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
      name: of the strategy: the functions of `bljust_jax/strategies.py` say what each is.
      labelled_steps: steps that use a labelled batch, whatever the strategy.
      explore_steps: self-supervised exploration steps in all (bl_just, tl_sud).
      finetune_steps: how many of the labelled steps are the final supervised fine-tuning (bl_just, tl_sud).
      cycles: number of [explore, joint] cycles (bl_just, tl_sud).
      seed_steps: how many of the labelled steps come first and are supervised alone (all but supervised and
        pretrain_finetune); -1 for none, but for a third where a teacher's labels are learnt: it must know some first.
      generations: of students (noisy_student).
      explore_rate: step sizes of exploration, as a fraction of the joint steps' (bl_just, tl_sud). AdamW's steps are
        of one length whatever γ, and at full length, exploration undoes what a small model has learnt from few
        transcripts.
    """

    name: str = choice(
        'bl_just', 'tl_sud', 'supervised', 'pretrain_finetune', 'joint', 'alternating', *PSEUDO_LABELLING
    )
    labelled_steps: int = positive(1000)
    explore_steps: int = not_negative(200)
    finetune_steps: int = not_negative(200)
    cycles: int = positive(4)
    explore_rate: float = positive(0.1)
    seed_steps: int = checked(-1, lambda steps: steps >= -1, "be a number of steps, or -1 for the strategy's own")
    generations: int = positive(2)

    def demands(self, path: str) -> Demands:
        """What the fields must satisfy together."""
        yield Demand(
            self.finetune_steps <= self.labelled_steps,
            'finetune_steps',
            f'be at most {path}.labelled_steps ({self.labelled_steps})',
        )
        left = self.labelled_steps - (self.finetune_steps if self.name in _FINE_TUNED else 0)
        yield Demand(
            self.seed_steps <= left, 'seed_steps', f'be at most {left}, the labelled steps that are no fine-tuning'
        )


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
      microbatches: parts in which every batch is taken, one after another, for less memory and the same gradients
        (gradient accumulation); other random numbers. What an objective takes over a batch, it takes over a part.
    """

    learning_rate: float = positive(5e-4)
    warmup_steps: int = not_negative(100)
    final_ratio: float = 0.01
    b1: float = 0.9
    b2: float = 0.98
    weight_decay: float = not_negative(0.01)
    clip: float = positive(5.0)
    combine: str = choice('penalty', 'weighted_sum', 'alternating', 'pcgrad', 'mgda', 'cagrad', 'modo')
    microbatches: int = positive(1)


@dataclasses.dataclass(frozen=True)
class GuardsConfig:
    """Collapse guards (docs/objectives.md).

    Attributes:
      action: what a guard that trips does besides warning: nothing (warn), multiply all step sizes by `slow_factor`
        (slow), or save and end the run (stop). With off there are no guards.
      slow_factor: below 1.
      patience: steps of a level over whose mean a guard decides.
      after_steps: steps of a level, after as many as the warm-up has, before accuracy and blanks are looked at.
      min_code_usage: different codes of a batch, as a fraction of those that it could have.
      min_perplexity: of a batch's codes; 1 if all are the same.
      min_accuracy: as a multiple of chance.
      min_spread: standard deviation of hidden frames, over time or over the batch, as a fraction of their RMS.
      max_blank: fraction of frames whose best label is the blank.
    """

    action: str = choice('warn', 'slow', 'stop', 'off')
    slow_factor: float = fraction(0.5)
    patience: int = positive(200)
    after_steps: int = not_negative(1000)
    min_code_usage: float = not_negative(0.02)
    min_perplexity: float = not_negative(2.0)
    min_accuracy: float = not_negative(1.0)
    min_spread: float = not_negative(0.1)
    max_blank: float = probability(0.99)


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices along the `data` and `fsdp` axes; `data=-1` takes all that are left."""

    data: int = checked(-1, lambda size: size == -1 or size > 0, 'be positive, or -1 for all devices')
    fsdp: int = positive(1)


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """Evaluation: every `every_steps` on `dev`; the best checkpoint by `select` is scored on `splits` at the end.

    Attributes:
      batch_seconds, buckets: audio of a batch, padding included, and the largest number of shapes of a split.
      max_symbols: labels that an RNN-T can emit in one frame.
      decoder: greedy, or beam: the beam search of the upper level's objective (docs/decoding.md). The fields from
        `beam` to `word_bonus` are for the latter.
      beam: prefixes kept after every frame or label.
      lm: ARPA file of an n-gram model over the labels, made by `python -m bljust_jax.lm`; empty for none.
      lm_weight, word_bonus: of the model's log-probabilities, and what is added for each word begun.
      ctc_weight: of CTC's scores in decoding, for hybrid; those of the decoder have the rest.
      labels_per_frame: of the longest labelling that an attention decoder may find, for attention and hybrid.
    """

    every_steps: int = positive(200)
    dev: str = 'dev'
    splits: tuple[str, ...] = ('dev', 'test')
    select: str = choice('cer', 'wer')
    batch_seconds: float = positive(120.0)
    buckets: int = positive(3)
    max_symbols: int = positive(3)
    decoder: str = choice('greedy', 'beam')
    beam: int = positive(8)
    lm: str = ''
    lm_weight: float = not_negative(0.5)
    word_bonus: float = 0.0
    ctc_weight: float = probability(0.3)
    labels_per_frame: float = positive(1.0)

    @property
    def scored(self) -> tuple[str, ...]:
        """The splits that a run is scored on at its end, `dev` first."""
        return tuple(dict.fromkeys((self.dev, *self.splits)))

    @property
    def criterion(self) -> str:
        """The metric that chooses the best checkpoint, such as `cer/dev`."""
        return f'{self.select}/{self.dev}'

    def demands(self, path: str) -> Demands:
        """What the fields must satisfy together."""
        for name, unused in (('lm', ''), ('word_bonus', 0.0)):
            yield Demand(
                self.decoder == 'beam' or getattr(self, name) == unused,
                name,
                f'be {unused!r} unless {path}.decoder is beam',
            )
