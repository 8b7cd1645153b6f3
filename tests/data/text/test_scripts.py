"""Tokenizers and error rates on Cyrillic, Devanagari and Han, and bytes for whatever there is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bljust_jax.config import NormaliserConfig
from bljust_jax.data.plan import make_plan
from bljust_jax.data.text import (
    ByteTokenizer,
    CharTokenizer,
    check_tokenizer,
    load_tokenizer,
    make_normaliser,
    train_tokenizer,
)
from bljust_jax.errors import UserError
from bljust_jax.metrics import error_rates

SENTENCES = {
    'ru': ['Все люди рождаются свободными и равными.', 'Они наделены разумом и совестью.', 'Ёж и йод, подъезд!'],
    'hi': ['सभी मनुष्यों को गौरव और अधिकारों के मामले में', 'जन्मजात स्वतन्त्रता और समानता प्राप्त है।', 'क्\u200dषण'],
    'zh': ['人人生而自由，在尊严和权利上一律平等。', '他们赋有理性和良心，', '并应以兄弟关系的精神相对待。'],
}
TEXTS = {
    language: [make_normaliser(NormaliserConfig(language, numbers='keep'))(text) for text in sentences]
    for language, sentences in SENTENCES.items()
}
KINDS = ['char', 'byte', 'unigram', 'bpe', 'unigram with bytes', 'bpe with bytes']


def train(texts, kind):
    name, *fallback = kind.split()
    size = len(set(''.join(texts) + ' ')) + 2 + 256 * bool(fallback)
    return train_tokenizer(texts, name, size, byte_fallback=bool(fallback))


@pytest.fixture(scope='module', params=[(language, kind) for language in TEXTS for kind in KINDS], ids=' '.join)
def trained(request):
    language, kind = request.param
    return TEXTS[language], train(TEXTS[language], kind)


def test_every_sentence_comes_back(trained, tmp_path):
    texts, tokenizer = trained
    tokenizer.save(tmp_path / 'tokenizer.json')
    loaded = load_tokenizer(tmp_path / 'tokenizer.json')
    for text in [*texts, ' '.join(texts)]:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert min(ids) >= 1 and max(ids) < tokenizer.vocab_size
        assert loaded.encode(text) == ids and loaded.decode(ids) == text
    assert loaded.vocab_size == tokenizer.vocab_size and loaded.names == tokenizer.names
    assert loaded.labels_per_character == tokenizer.labels_per_character


def test_labels_have_names_of_their_own_without_white_space(trained):
    _, tokenizer = trained
    assert len(set(tokenizer.names)) == tokenizer.vocab_size - 1
    assert all(name and not any(map(str.isspace, name)) for name in tokenizer.names)


def test_rows_of_a_plan_have_room_for_the_labels(trained):
    texts, tokenizer = trained
    characters = np.ceil(tokenizer.labels_per_character * np.array([len(text) for text in texts]))
    plan = make_plan(
        np.full(len(texts), 8000), characters, batch_seconds=60, buckets=1, max_seconds=30, pack_seconds=30
    )
    assert plan.shapes[0].labels >= len(tokenizer.encode(' '.join(texts)))


LABELS = st.lists(st.integers(0, 255))
SPACED = st.text(st.characters(exclude_categories=['Cs', 'Cc'], exclude_characters='▁')).map(
    lambda t: ' '.join(t.split())
)
FALLBACKS = [train(TEXTS['ru'], f'{kind} with bytes') for kind in ('unigram', 'bpe')]


@given(st.text(), LABELS)
def test_bytes_write_anything_and_read_anything(text, stray):
    tokenizer = ByteTokenizer()
    assert [label - 1 for label in tokenizer.encode(text)] == list(text.encode())
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode([label + 1 for label in stray]) == bytes(stray).decode('utf-8', errors='replace')


@settings(max_examples=200)
@given(st.sampled_from(FALLBACKS), SPACED)
def test_fallback_writes_any_character(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(st.sampled_from(FALLBACKS), st.lists(st.integers(0, FALLBACKS[0].vocab_size - 1)))
def test_fallback_reads_any_labels(tokenizer, labels):
    text = tokenizer.decode(labels)
    assert type(text) is str and text.encode().decode() == text


def test_bytes_cut_short_become_replacement_characters():
    word = ByteTokenizer().encode('да')
    assert ByteTokenizer().decode(word[:-1]) == 'д\ufffd'
    fallback = FALLBACKS[0]
    unknown = fallback.encode('人')
    assert fallback.decode(unknown) == '人'
    assert '\ufffd' in fallback.decode(unknown[:-1])


def test_without_fallback_an_unknown_character_is_an_error():
    for kind in ('char', 'unigram', 'bpe'):
        with pytest.raises(UserError, match="no label for '人'"):
            train(TEXTS['ru'], kind).encode('人')


def test_rare_characters_are_left_to_bytes():
    letters = [chr(0x4E00 + index) for index in range(60)]
    texts = [letter * 100 for letter in letters[:20]] + letters[20:]
    tokenizer = train_tokenizer(texts, 'unigram', 300, byte_fallback=True)
    assert tokenizer.vocab_size == 300
    assert len(tokenizer.encode(letters[-1])) == 4  # ▁ and three bytes
    assert len(tokenizer.encode(letters[0])) <= 2
    assert tokenizer.labels_per_character == 3


@pytest.mark.parametrize('kind', ['unigram', 'bpe'])
def test_the_least_vocabulary_with_bytes_is_possible(kind):
    with pytest.raises(UserError, match='need at least [0-9]+') as caught:
        train_tokenizer(TEXTS['zh'], kind, 259, byte_fallback=True)
    least = int(str(caught.value).rstrip('.').split()[-1])
    assert 258 < least < 258 + len(set(''.join(TEXTS['zh']))) + 2
    assert train_tokenizer(TEXTS['zh'], kind, least, byte_fallback=True).vocab_size == least


def test_labels_per_character():
    assert CharTokenizer.train(TEXTS['hi']).labels_per_character == 1
    assert ByteTokenizer.train(['plain']).labels_per_character == 1
    assert ByteTokenizer.train(['да', 'ab']).labels_per_character == 2
    assert ByteTokenizer.train(TEXTS['zh']).labels_per_character == 3


def test_mistakes():
    with pytest.raises(UserError, match='tokenizer=char has no byte fallback'):
        check_tokenizer('char', None, byte_fallback=True)
    with pytest.raises(UserError, match='has none'):
        ByteTokenizer.train([''])
    with pytest.raises(UserError, match='half of a surrogate pair'):
        ByteTokenizer().encode('a\ud800')
    with pytest.raises(ValueError, match='id 257 is not in'):
        ByteTokenizer().decode([257])


def test_a_character_of_cer_is_a_code_point():
    # One vowel sign of four code points, क ् य ा, which a reader sees as one syllable.
    assert error_rates(['क्या'], ['क्यी']).cer == 1 / 4
    # Composed and decomposed forms differ for the score, and agree once they are normalised.
    assert error_rates(['й'], ['и\u0306']).cer == 2
    normalise = make_normaliser(NormaliserConfig('ru'))
    assert error_rates([normalise('й')], [normalise('и\u0306')]).cer == 0
    # Without spaces a sentence is one word.
    rates = error_rates(['人人生而自由'], ['人人生来自由'])
    assert (rates.wer, rates.cer) == (1, 1 / 6)
