"""Any supervised objective with any unsupervised one on any encoder: built, trained, evaluated and restored.

A selection in which every two of them meet is quick enough for each run of the tests; the rest is marked slow.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from bljust_jax.build import build
from bljust_jax.checkpoint import Checkpoints
from bljust_jax.config import (
    Config,
    CpcConfig,
    Data2VecConfig,
    DistillationConfig,
    EvalConfig,
    HubertConfig,
    LevelConfig,
    LevelsConfig,
    PseudoLabelConfig,
    StrategyConfig,
    TeacherConfig,
    Wav2Vec2Config,
)
from bljust_jax.data.dataset import load_or_train_tokenizer
from bljust_jax.data.units import save_arrays
from bljust_jax.evaluate import make_recognizer, open_eval_set, transcribe_set
from bljust_jax.models import ENCODERS, make_encoder
from bljust_jax.objectives import SUPERVISED, TAUGHT, UNSUPERVISED, Setup
from bljust_jax.objectives.ctc import WITH_POSTERIORS
from bljust_jax.objectives.hubert import unit_source
from bljust_jax.streams import open_stream
from tests.params import random_params
from tests.runs import assert_same_bits, on_one_device, tiny_config

pytest_plugins = ['tests.run_fixtures']
pytestmark = pytest.mark.standard_dtypes

# Of whatever fields a group has.
SIZES = {
    'layers': 1,
    'width': 16,
    'heads': 2,
    'expansion': 2,
    'kernel': 3,
    'merge_kernel': 3,
    'channels': 8,
    'joint_dim': 16,
}


def selection():
    """Triples in which all pairs occur: every two of the two longest lists, with those of the shortest by turns."""
    parts = [list(SUPERVISED), list(UNSUPERVISED), list(ENCODERS)]
    long, middle, short = sorted(range(3), key=lambda part: -len(parts[part]))
    for i, j in itertools.product(range(len(parts[long])), range(len(parts[middle]))):
        chosen = {long: i, middle: j, short: (i + j) % len(parts[short])}
        supervised, unsupervised, encoder = (parts[part][chosen[part]] for part in range(3))
        yield supervised if fit_together(supervised, unsupervised) else 'ctc', unsupervised, encoder


def fit_together(supervised, unsupervised):
    """Pseudo-labels are those of a CTC head."""
    return unsupervised != 'pseudo_label' or supervised in WITH_POSTERIORS


COMBINATIONS = [
    pytest.param(*triple, marks=[] if triple in set(selection()) else pytest.mark.slow, id='-'.join(triple))
    for triple in itertools.product(SUPERVISED, UNSUPERVISED, ENCODERS)
    if fit_together(*triple[:2])
]


def test_every_two_meet_in_the_selection():
    parts = SUPERVISED, UNSUPERVISED, ENCODERS
    for (i, first), (j, second) in itertools.combinations(enumerate(parts), 2):
        pairs = {(one, other) for one, other in itertools.product(first, second) if j != 1 or fit_together(one, other)}
        assert {(triple[i], triple[j]) for triple in selection()} == pairs


def tiny(group):
    """A config group with the sizes above."""
    names = {field.name for field in dataclasses.fields(group)}
    return dataclasses.replace(group, **{name: size for name, size in SIZES.items() if name in names})


def make_config(data_dir: Path, supervised: str, unsupervised: str, encoder: str) -> Config:
    """Three joint steps."""
    config = tiny_config(data_dir)
    config = dataclasses.replace(config, encoder=encoder, **{encoder: tiny(getattr(config, encoder))})
    return dataclasses.replace(
        config,
        levels=LevelsConfig(sup=LevelConfig(supervised), unsup=LevelConfig(unsupervised, gamma='constant')),
        strategy=StrategyConfig('joint', labelled_steps=3, finetune_steps=0),
        cpc=CpcConfig(context_seconds=0.5, future_seconds=0.25, negatives=10, dim=8),
        wav2vec2=Wav2Vec2Config(codes=4, code_dim=8, dim=8, distractors=5),
        hubert=HubertConfig(units(config, data_dir / 'units.npz') if unsupervised == 'hubert' else '', dim=8),
        data2vec=Data2VecConfig(layers=1),
        pseudo_label=PseudoLabelConfig(confidence=0.0),
        distillation=DistillationConfig(posterior_weight=float(supervised in WITH_POSTERIORS)),
        teacher=TeacherConfig(momentum=0.9 if unsupervised in TAUGHT else 0.0),
        **{name: tiny(getattr(config, name)) for name in (encoder, 'attention_decoder', 'transducer')},
    )


def units(config: Config, path: Path) -> str:
    """Writes units of MFCC for `config`."""
    encoder = make_encoder(config)
    source = unit_source(Setup('unsup', config, encoder, width=16, vocab_size=5, upper='sup'))
    centroids = np.random.default_rng(0).normal(size=(6, encoder.subsampling * 39))
    save_arrays(path, centroids=centroids, source=source, teacher='')
    return str(path)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Programs are forgotten with their combination."""
    yield
    jax.clear_caches()


@pytest.mark.parametrize(('supervised', 'unsupervised', 'encoder'), COMBINATIONS)
def test_any_combination(supervised: str, unsupervised: str, encoder: str, data_dir: Path, tmp_path: Path):
    config = make_config(data_dir, supervised, unsupervised, encoder)
    tokenizer = load_or_train_tokenizer(data_dir, config.data.corpus)
    system = build(config, tokenizer.vocab_size)
    batches = {
        level.name: next(open_stream(config, level.name, tokenizer, 0, 1, jax.device_put).batches)[0]
        for level in system.levels
    }
    # No leaf is zero, as by initialisation some are, which gradients do not get past.
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(system.init_state, 0))
    before = random_params(state.params)
    state = state._replace(params=before, teacher=before if state.teacher else ())
    step = system.make_steps()['sup', 'unsup']

    for name, gradient in step.gradients.items():
        grads = jax.device_get(gradient(batches[name], before, state.seed, state.step, state.teacher).grads)
        for path, leaf in jax.tree.leaves_with_path((grads['encoder'], grads['heads'][name])):
            assert np.isfinite(leaf).all() and (leaf != 0).any(), (name, jax.tree_util.keystr(path))
        (other,) = {'sup', 'unsup'} - {name}
        for path, leaf in jax.tree.leaves_with_path(grads['heads'][other]):
            assert (leaf == 0).all(), (name, jax.tree_util.keystr(path))

    state = jax.device_put(state)
    for _ in range(3):
        state, metrics = step(state, batches)
        assert all(np.isfinite(ratio.sum) for ratio in jax.device_get(metrics).values())
    assert state.step == 3
    for path, leaf in jax.tree.leaves_with_path(jax.tree.map(np.not_equal, jax.device_get(state.params), before)):
        assert leaf.any(), jax.tree_util.keystr(path)

    with Checkpoints(tmp_path, select='cer/dev') as checkpoints:
        checkpoints.save(state, {'cer/dev': 1.0})
        checkpoints.wait()
        restored = checkpoints.restore_latest(on_one_device(jax.eval_shape(system.init_state, config.seed)))
    assert_same_bits(restored, state)

    recognize = make_recognizer(system, tokenizer)
    dev = open_eval_set(dataclasses.replace(config, eval=EvalConfig(batch_seconds=30.0, buckets=1)), 'dev')
    hypotheses = transcribe_set(recognize, restored.params, dev, tokenizer, jax.device_put)
    assert len(hypotheses) == len(dev.split)
