"""What every file of `configs` keeps to, and the encoders of each at the size of the papers."""

import dataclasses
import importlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bljust_jax.config import from_config_dict, to_config_dict
from bljust_jax.data.sources.layouts import LAYOUTS
from bljust_jax.errors import UserError
from bljust_jax.models import encode, make_encoder
from bljust_jax.strategies import make_phases
from configs import conformer, transformer

FILES = [path.stem for path in sorted((Path(__file__).parents[1] / 'configs').glob('*.py'))]
PAPERS = ('librispeech', 'librispeech_500', 'librispeech_360', 'tedlium2', 'switchboard')
NAMES = ('mini', 'smoke', 'amazon_queen', 'synthetic_voices', *PAPERS)
every_file = pytest.mark.parametrize('file', [importlib.import_module(f'configs.{name}') for name in FILES], ids=FILES)


@every_file
def test_every_file_has_the_same_presets(file):
    assert tuple(file.PRESETS) == NAMES
    assert from_config_dict(file.get_config()) == file.PRESETS['mini']()
    for name in NAMES:
        config = from_config_dict(file.get_config(name))
        assert config == file.PRESETS[name]() and make_phases(config.strategy)
        assert from_config_dict(json.loads(json.dumps(to_config_dict(config).to_dict()))) == config
        assert f'\n{name} ' in file.__doc__


@every_file
def test_unknown_presets_are_named(file):
    sentence = f"{file.__name__.split('.')[1]}.py has no preset 'tiny': choose one of {', '.join(NAMES)}"
    with pytest.raises(UserError, match=sentence):
        file.get_config('tiny')


@every_file
@pytest.mark.standard_dtypes
def test_encoders_of_the_papers_sizes_have_gradients(file):
    """Traced, not run: in bfloat16, on rows of 20 s."""
    config = from_config_dict(file.get_config('librispeech'))
    encoder = make_encoder(config)
    features, lengths = jax.ShapeDtypeStruct((80, 2000, 80), jnp.float32), jax.ShapeDtypeStruct((80,), jnp.int32)

    def loss(params, features, lengths):
        rngs = {'dropout': jax.random.key(0)}
        hidden, _ = encode(encoder, {'encoder': params}, features, lengths, dtype=config.compute_dtype, rngs=rngs)
        return hidden.sum()

    params = jax.eval_shape(lambda: encoder.init(jax.random.key(0), jnp.zeros((1, 64, 80)), jnp.full((1,), 64), False))
    value, gradient = jax.eval_shape(jax.value_and_grad(loss), params['params'], features, lengths)
    assert value.shape == () and {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {np.dtype(np.float32)}


@pytest.mark.parametrize('name', ['mini', 'amazon_queen', 'synthetic_voices', 'librispeech'])
def test_a_transformer_is_trained_gently(name):
    """With the Conformer's step size, it learns nothing but blanks; nor does a small one with norms behind branches."""
    preset, theirs = transformer.PRESETS[name](), conformer.PRESETS[name]()
    assert preset.optimizer.learning_rate == theirs.optimizer.learning_rate / 2
    assert preset.transformer.norm == ('post' if name == 'librispeech' else 'pre')


@every_file
def test_the_papers_settings_differ_in_their_speech_alone(file):
    presets = {name: file.PRESETS[name]() for name in PAPERS}
    speech = {
        name: (preset.data.corpus, preset.data.labelled, preset.data.unlabelled) for name, preset in presets.items()
    }
    assert speech == {
        'librispeech': ('librispeech', 'train_clean_100', 'train_clean_360,train_other_500'),
        'librispeech_500': ('librispeech', 'train_clean_100', 'train_other_500'),
        'librispeech_360': ('librispeech', 'train_clean_100', 'train_clean_360'),
        'tedlium2': ('tedlium2', 'train', 'train'),
        'switchboard': ('switchboard', 'train', 'train'),
    }
    base = presets['librispeech']
    for name, preset in presets.items():
        changes = {'data': base.data, 'eval': base.eval, 'log_mel': base.log_mel}
        assert dataclasses.replace(preset, **changes) == base
        layout = LAYOUTS[preset.data.corpus]
        assert {preset.data.labelled, *preset.data.unlabelled.split(',')} <= set(layout.splits)
        assert {preset.eval.dev, *preset.eval.splits} <= set(layout.splits)
        assert preset.log_mel.high_hz == (3600.0 if name == 'switchboard' else 8000.0)
