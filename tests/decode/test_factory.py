import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bljust_jax.config import AttentionDecoderConfig, Config, EvalConfig, LevelConfig, LevelsConfig, TransducerConfig
from bljust_jax.data.text import CharTokenizer
from bljust_jax.decode import attention_beam, ctc_beam, ctc_greedy, make_decoder, rnnt_beam, rnnt_greedy
from bljust_jax.decode.factory import DECODERS
from bljust_jax.errors import UserError
from bljust_jax.lm import kneser_ney, ngram_table, write_arpa
from bljust_jax.models.attention_decoder import AttentionDecoder
from bljust_jax.models.transducer import Transducer
from bljust_jax.objectives import SUPERVISED
from tests.params import random_params

TOKENIZER = CharTokenizer('ab ')
HIDDEN = jnp.asarray(np.random.default_rng(0).normal(size=(6, 10, 8)), jnp.float32)
HEAD = {
    'Dense_0': {'kernel': jnp.asarray(np.random.default_rng(1).normal(size=(8, 4)), jnp.float32), 'bias': jnp.ones(4)}
}
LOGITS = HIDDEN @ HEAD['Dense_0']['kernel'] + 1
LENGTHS = jnp.array([10, 9, 8, 7, 1, 0])
MODEL = kneser_ney(['ab▁ab', 'ba▁a'], TOKENIZER.names, 3)


def decoder(**options):
    return make_decoder(Config(eval=EvalConfig(**options)), TOKENIZER)


def test_greedy():
    found = jax.jit(decoder())(HEAD, HIDDEN, LENGTHS)
    jax.tree.map(np.testing.assert_array_equal, found, ctc_greedy(LOGITS, LENGTHS))


def test_every_supervised_objective_has_a_decoder():
    assert set(DECODERS) == set(SUPERVISED)


def test_beam_search_with_everything(tmp_path):
    write_arpa(tmp_path / 'lm.arpa', MODEL)
    lm = str(tmp_path / 'lm.arpa')
    decode = jax.jit(decoder(decoder='beam', beam=5, lm=lm, lm_weight=0.7, word_bonus=1.5))
    labels, counts = decode(HEAD, HIDDEN, LENGTHS)
    assert labels.shape == (6, 10) and counts.shape == (6,)
    bonus = jnp.array([0.0, 1.5, 0.0, 0.0])  # of ▁, a and b
    table = ngram_table(MODEL, TOKENIZER.names)
    expected = ctc_beam(LOGITS, LENGTHS, beam=5, lm=table, lm_weight=0.7, bonus=bonus)
    np.testing.assert_array_equal(labels, expected.labels[:, 0])
    np.testing.assert_array_equal(counts, expected.label_lengths[:, 0])
    without, _ = decoder(decoder='beam', beam=5)(HEAD, HIDDEN, LENGTHS)
    assert (labels != without).any()


@pytest.mark.parametrize('decoder', ['greedy', 'beam'])
def test_rnnt_with_everything(decoder, tmp_path):
    write_arpa(tmp_path / 'lm.arpa', MODEL)
    options = {'beam': 3, 'lm': str(tmp_path / 'lm.arpa'), 'lm_weight': 0.7, 'word_bonus': 1.5}
    config = Config(
        eval=EvalConfig(decoder=decoder, max_symbols=2, **(options if decoder == 'beam' else {})),
        levels=LevelsConfig(LevelConfig('rnnt')),
        transducer=TransducerConfig(width=4, joint_dim=4),
    )
    transducer = Transducer(config.transducer, TOKENIZER.vocab_size)
    params = random_params(jax.eval_shape(transducer.init, jax.random.key(0), HIDDEN, jnp.zeros((6, 1), int))['params'])
    labels, counts = jax.jit(make_decoder(config, TOKENIZER))(params, HIDDEN, LENGTHS)
    head = transducer, params, HIDDEN, LENGTHS
    if decoder == 'beam':
        bonus, table = jnp.array([0.0, 1.5, 0.0, 0.0]), ngram_table(MODEL, TOKENIZER.names)
        found = jax.jit(lambda: rnnt_beam(*head, beam=3, max_symbols=2, lm=table, lm_weight=0.7, bonus=bonus))()
        expected = found.labels[:, 0], found.label_lengths[:, 0]
    else:
        expected = rnnt_greedy(*head, max_symbols=2)
    np.testing.assert_array_equal(labels, expected[0])
    np.testing.assert_array_equal(counts, expected[1])
    assert counts.any()


@pytest.mark.parametrize('objective', ['attention', 'hybrid'])
@pytest.mark.parametrize('beam', [1, 4])
def test_attention_decoders(objective, beam):
    sizes = AttentionDecoderConfig(layers=1, width=8, heads=2, expansion=2)
    attention = AttentionDecoder(sizes, TOKENIZER.vocab_size)
    shapes = jax.eval_shape(attention.init, jax.random.key(0), HIDDEN, LENGTHS, jnp.zeros((6, 1), jnp.int32))
    params = random_params(shapes['params'])
    config = Config(
        attention_decoder=sizes,
        levels=LevelsConfig(sup=LevelConfig(objective)),
        eval=EvalConfig(
            decoder='beam' if beam > 1 else 'greedy',
            beam=4,
            word_bonus=4.0 * (beam > 1),
            ctc_weight=0.6,
            labels_per_frame=0.5,
        ),
    )
    head = {'ctc': HEAD, 'decoder': params} if objective == 'hybrid' else params
    labels, counts = jax.jit(make_decoder(config, TOKENIZER))(head, HIDDEN, LENGTHS)
    options = {'ctc_logits': LOGITS, 'ctc_weight': 0.6} if objective == 'hybrid' else {}
    bonus = jnp.array([0.0, 4.0, 0.0, 0.0]) if beam > 1 else 0.0
    search = functools.partial(attention_beam, attention, beam=beam, best=1, labels_per_frame=0.5)
    expected = jax.jit(search)(params, HIDDEN, LENGTHS, bonus=bonus, **options)
    assert labels.shape == (6, 5) and len(set(counts.tolist())) > 1
    np.testing.assert_array_equal(labels, expected.labels[:, 0])
    np.testing.assert_array_equal(counts, expected.label_lengths[:, 0])


def test_a_language_model_that_is_missing_or_of_another_tokenizer(tmp_path):
    write_arpa(tmp_path / 'lm.arpa', MODEL)
    config = Config(eval=EvalConfig(decoder='beam', lm=str(tmp_path / 'lm.arpa')))
    with pytest.raises(UserError, match="does not know the label 'c': make one for its labels"):
        make_decoder(config, CharTokenizer('abc '))
    with pytest.raises(UserError, match='There is no language model none.arpa'):
        decoder(decoder='beam', lm='none.arpa')
