from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bljust_jax.build import build
from bljust_jax.compilation import Compilations
from bljust_jax.config import Config, ConformerConfig, MeshConfig
from bljust_jax.data.text import CharTokenizer
from bljust_jax.errors import UserError
from bljust_jax.evaluate import (
    evaluate_splits,
    format_table,
    make_recognizer,
    open_eval_set,
    score_set,
    transcribe_set,
)
from bljust_jax.sharding import batch_putter, make_mesh
from tests.products import products
from tests.runs import tiny_config

pytest_plugins = ['tests.run_fixtures']

DIGITS = CharTokenizer('0123456789')


def tell_lengths(params, audio, lengths):
    """A recogniser that hears the number of samples; it is given as many rows as devices can share."""
    assert audio.shape[0] % 2 == 0
    texts = [DIGITS.encode(str(length)) for length in np.asarray(lengths)]
    labels = np.zeros((len(texts), 9), np.int32)
    for row, text in zip(labels, texts, strict=True):
        row[: len(text)] = text
    return labels, np.array([len(text) for text in texts])


@pytest.fixture(scope='module')
def dev(data_dir: Path):
    """The dev split, in several batches, the last of which have empty rows."""
    return open_eval_set(tiny_config(data_dir, eval__buckets=3, eval__batch_seconds=9.0), 'dev', 2)


def test_every_utterance_is_transcribed_in_its_place(dev):
    assert len(dev.plan) > 2
    put = batch_putter(make_mesh(MeshConfig()))
    hypotheses = transcribe_set(tell_lengths, {}, dev, DIGITS, put)
    assert hypotheses == [str(samples) for samples in dev.split.samples]


@pytest.mark.standard_dtypes
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_the_recogniser_computes_in_what_training_computes_in(dtype):
    config = Config(conformer=ConformerConfig(layers=1, width=16, heads=2, channels=8), compute_dtype=dtype)
    system = build(config, 5)
    params = jax.eval_shape(system.init_params, 0)
    audio, lengths = jax.ShapeDtypeStruct((2, 16000), jnp.int16), jax.ShapeDtypeStruct((2,), jnp.int32)
    multiplied = products(make_recognizer(system, CharTokenizer('abcd')), params, audio, lengths)
    assert (multiplied['bf16'] > multiplied['f32'] > 0) if dtype == 'bfloat16' else set(multiplied) == {'f32'}


def test_scores_and_lines(dev):
    references = [dev.split.source[index]['text'] for index in range(len(dev.split))]
    rates, lines = score_set(dev, references)
    assert (rates.wer, rates.cer) == (0, 0)
    hypotheses = ['', *references[1:]]
    rates, lines = score_set(dev, hypotheses)
    assert rates.wer == len(references[0].split()) / sum(len(text.split()) for text in references)
    assert [line['hypothesis'] for line in lines] == hypotheses
    assert [line['reference'] for line in lines] == references
    assert [line['id'] for line in lines] == [str(name) for name in dev.split.ids]
    assert {line['speaker'] for line in lines} == {'low', 'high'}
    assert lines[3]['seconds'] == pytest.approx(dev.split.samples[3] / 16_000, abs=1e-3)


def test_splits_are_written_and_tabulated(dev, tmp_path: Path):
    put = batch_putter(make_mesh(MeshConfig()))
    results = evaluate_splits(tell_lengths, {}, {'dev': dev, 'again': dev}, DIGITS, put, tmp_path)
    assert results['dev'] == results['again'] and results['dev'].wer >= 1
    for name in results:
        assert len((tmp_path / 'hypotheses' / f'{name}.jsonl').read_text().splitlines()) == len(dev.split)


def test_the_table():
    rates = SimpleNamespace(wer=0.12345, cer=1.5, utterances=7, words=2000)
    assert format_table({'dev': rates, 'test_unseen': rates}).splitlines() == [
        'split         WER %   CER %  utterances   words',
        'dev            12.3   150.0           7    2000',
        'test_unseen    12.3   150.0           7    2000',
    ]


def test_an_unknown_split(data_dir: Path):
    with pytest.raises(UserError, match="smoke has no split 'testing': choose one of"):
        open_eval_set(tiny_config(data_dir), 'testing')


def test_a_program_for_each_shape_and_none_for_a_batch(dev, data_dir: Path):
    assert len(dev.plan.shapes) <= 3 < len(dev.plan)
    config = tiny_config(data_dir)
    system = build(config, DIGITS.vocab_size)
    params = jax.jit(system.init_params)(0)
    recognize, put = make_recognizer(system, DIGITS), batch_putter(make_mesh(MeshConfig()))
    with Compilations() as compilations:
        first, second = (transcribe_set(recognize, params, dev, DIGITS, put) for _ in range(2))
    assert first == second
    assert compilations.names.count('jit(recognize)') == len(dev.plan.shapes)
