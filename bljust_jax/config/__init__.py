"""The typed configuration: frozen dataclasses with defaults, and the way in from `ml_collections`.

A config file (`configs/*.py`) returns `to_config_dict(Config(...))`, so that absl flags such as
`--config.conformer.layers=4` override any field; `from_config_dict` turns the result back into a
checked `Config`. Code below this file only ever sees the dataclasses.
"""

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict, config_dict

from bljust_jax.config.checks import check
from bljust_jax.config.data import (
    SAMPLE_RATE,
    AugmentConfig,
    DataConfig,
    LogMelConfig,
    NormaliserConfig,
    SpecAugmentConfig,
    TokenizerConfig,
)
from bljust_jax.config.encoders import (
    ConformerConfig,
    EBranchformerConfig,
    FastConformerConfig,
    LstmConfig,
    TransformerConfig,
)
from bljust_jax.config.fields import Demand, Demands, choice, not_negative, positive
from bljust_jax.config.objectives import (
    AttentionDecoderConfig,
    BestRqConfig,
    CpcConfig,
    CtcConfig,
    Data2VecConfig,
    DistillationConfig,
    HubertConfig,
    PseudoLabelConfig,
    TeacherConfig,
    TransducerConfig,
    Wav2Vec2Config,
)
from bljust_jax.config.training import (
    PSEUDO_LABELLING,
    EvalConfig,
    GuardsConfig,
    LevelConfig,
    LevelsConfig,
    MeshConfig,
    OptimizerConfig,
    StrategyConfig,
)
from bljust_jax.errors import UserError

__all__ = [
    'PSEUDO_LABELLING',
    'SAMPLE_RATE',
    'AttentionDecoderConfig',
    'AugmentConfig',
    'BestRqConfig',
    'Config',
    'ConformerConfig',
    'CpcConfig',
    'CtcConfig',
    'Data2VecConfig',
    'DataConfig',
    'DistillationConfig',
    'EBranchformerConfig',
    'EvalConfig',
    'FastConformerConfig',
    'GuardsConfig',
    'HubertConfig',
    'LevelConfig',
    'LevelsConfig',
    'LogMelConfig',
    'LstmConfig',
    'MeshConfig',
    'NormaliserConfig',
    'OptimizerConfig',
    'PseudoLabelConfig',
    'SpecAugmentConfig',
    'StrategyConfig',
    'TeacherConfig',
    'TokenizerConfig',
    'TransducerConfig',
    'TransformerConfig',
    'Wav2Vec2Config',
    'from_config_dict',
    'to_config_dict',
    'with_overrides',
]


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole run.

    Whatever the fields say, a strategy that learns a teacher's labels (pseudo_label, noisy_student,
    momentum_pseudo_label) has the objective and the teacher that make it one.

    Attributes:
      seed: of initialisation, data order, augmentation and dropout.
      encoder: name of the encoder; its sizes are in the field of that name.
      compute_dtype: what the encoder computes in, float32 or bfloat16: for accelerators. Parameters, gradients,
        optimiser state, norms' statistics, softmax, heads and losses are float32 all the same.
      log_every_steps: between progress lines.
      checkpoint_every_steps: between checkpoints.
      keep_checkpoints: newest checkpoints kept, besides the best one.
    """

    seed: int = not_negative(0)
    encoder: str = 'conformer'
    compute_dtype: str = choice('float32', 'bfloat16')
    data: DataConfig = DataConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    augment: AugmentConfig = AugmentConfig()
    log_mel: LogMelConfig = LogMelConfig()
    spec_augment: SpecAugmentConfig = SpecAugmentConfig()
    conformer: ConformerConfig = ConformerConfig()
    fast_conformer: FastConformerConfig = FastConformerConfig()
    e_branchformer: EBranchformerConfig = EBranchformerConfig()
    transformer: TransformerConfig = TransformerConfig()
    lstm: LstmConfig = LstmConfig()
    ctc: CtcConfig = CtcConfig()
    transducer: TransducerConfig = TransducerConfig()
    attention_decoder: AttentionDecoderConfig = AttentionDecoderConfig()
    best_rq: BestRqConfig = BestRqConfig()
    cpc: CpcConfig = CpcConfig()
    wav2vec2: Wav2Vec2Config = Wav2Vec2Config()
    hubert: HubertConfig = HubertConfig()
    data2vec: Data2VecConfig = Data2VecConfig()
    pseudo_label: PseudoLabelConfig = PseudoLabelConfig()
    teacher: TeacherConfig = TeacherConfig()
    distillation: DistillationConfig = DistillationConfig()
    levels: LevelsConfig = LevelsConfig()
    strategy: StrategyConfig = StrategyConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    guards: GuardsConfig = GuardsConfig()
    mesh: MeshConfig = MeshConfig()
    eval: EvalConfig = EvalConfig()
    log_every_steps: int = positive(20)
    checkpoint_every_steps: int = positive(200)
    keep_checkpoints: int = positive(2)

    def __post_init__(self) -> None:
        self._settle()
        check(self)

    def demands(self, path: str) -> Demands:
        """What the groups must satisfy together."""
        yield Demand(self.seed < 2**31, 'seed', 'be below 2^31')
        lower = (getattr(self.levels, level.name) for level in dataclasses.fields(self.levels)[1:])
        cpc = self.cpc
        yield Demand(
            all(level.objective != 'cpc' for level in lower)
            or cpc.context_seconds + cpc.future_seconds < self.data.crop_seconds,
            'data.crop_seconds',
            f'be longer than {path}.cpc.context_seconds and future_seconds together '
            f'({cpc.context_seconds} + {cpc.future_seconds})',
        )
        yield Demand(
            not (self.strategy.name in PSEUDO_LABELLING and self.teacher.workdir),
            'teacher.workdir',
            f'be empty with {path}.strategy.name={self.strategy.name}, in which the run is its own teacher (with joint '
            f"and {path}.levels.unsup.objective='pseudo_label', another run is)",
        )

    def _settle(self) -> None:
        """Gives a strategy that learns a teacher's labels the objective and the teacher that make it one."""
        name = self.strategy.name
        if name not in PSEUDO_LABELLING:
            return
        momentum = self.teacher.momentum or 0.999 if name == 'momentum_pseudo_label' else 0.0
        implied = {
            'levels': dataclasses.replace(
                self.levels, unsup=dataclasses.replace(self.levels.unsup, objective='pseudo_label')
            ),
            'pseudo_label': dataclasses.replace(self.pseudo_label, train_head=True),
            'teacher': dataclasses.replace(self.teacher, momentum=momentum),
        }
        for field, value in implied.items():
            object.__setattr__(self, field, value)


def to_config_dict(config: Config) -> ConfigDict:
    """The config as a locked `ConfigDict`, whose fields absl flags can override."""
    return config_dict.ConfigDict(dataclasses.asdict(config)).lock()


def from_config_dict(values: ConfigDict | dict[str, Any]) -> Config:
    """The checked `Config` of a `ConfigDict` or of a run's `config.json`.

    Raises:
      UserError: for a field that does not exist, a wrong type or a value out of range.
    """
    return _build(Config, values.to_dict() if isinstance(values, ConfigDict) else values, 'config')


def with_overrides(config: Config, overrides: Mapping[str, Any]) -> Config:
    """`config` with other values of some fields, by dotted name: `{'levels.unsup.gamma_max': 0.1}`.

    Raises:
      UserError: for a field that does not exist, a wrong type or a value out of range, and for a change of strategy
        where the present one has settled what others have otherwise.
    """
    settled, strategy = config.strategy.name, overrides.get('strategy.name')
    if settled in PSEUDO_LABELLING and strategy not in (None, settled):
        raise UserError(
            f'config.strategy.name={settled} has settled fields that {strategy} has otherwise: begin with a config of '
            'another strategy.'
        )
    values = dataclasses.asdict(config)
    for name, value in overrides.items():
        *path, field = name.split('.')
        group = values
        for part in path:
            group = group.setdefault(part, {})
            if not isinstance(group, dict):
                raise UserError(f'There is no config field config.{name}: {part} is not a group of fields.')
        group[field] = value
    return from_config_dict(values)


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
