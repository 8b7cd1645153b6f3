import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bljust_jax.data.text import (
    CharTokenizer,
    SentencePieceTokenizer,
    load_tokenizer,
    train_tokenizer,
)
from bljust_jax.errors import UserError

TEXTS = ['the cat sat on the mat', "don't look now", 'a quick brown fox jumps over the lazy dog', 'sit on it']
WORDS = st.text(alphabet=sorted(set(''.join(TEXTS)) - {' '}), min_size=1)
SENTENCES = st.lists(WORDS, max_size=6).map(' '.join)


def tokenizers():
    return [
        CharTokenizer.train(TEXTS),
        SentencePieceTokenizer.train(TEXTS, 'unigram', 36),
        SentencePieceTokenizer.train(TEXTS, 'bpe', 36),
    ]


@pytest.fixture(scope='module', params=[0, 1, 2], ids=['char', 'unigram', 'bpe'])
def tokenizer(request):
    return tokenizers()[request.param]


@given(SENTENCES)
def test_round_trip(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(type(index) is int and 0 < index < tokenizer.vocab_size for index in ids)
    blanks = [index for pair in zip(ids, [0] * len(ids), strict=True) for index in pair]
    assert tokenizer.decode(blanks) == text


def test_saved_tokenizer_is_the_same(tokenizer, tmp_path):
    path = tmp_path / 'tokenizer.json'
    tokenizer.save(path)
    loaded = load_tokenizer(path)
    assert loaded.vocab_size == tokenizer.vocab_size
    assert [loaded.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]
    assert list(tmp_path.iterdir()) == [path]


def test_unknown_character_is_an_error(tokenizer):
    with pytest.raises(UserError, match="'!'"):
        tokenizer.encode('the cat!')


@pytest.mark.parametrize('index', [-1, 1000])
def test_id_out_of_range_is_an_error(tokenizer, index):
    with pytest.raises(ValueError, match=f'id {index} '):
        tokenizer.decode([1, index])


def test_characters_have_the_ids_of_their_order():
    tokenizer = CharTokenizer.train(['cab'])
    assert tokenizer.vocab_size == 5
    assert tokenizer.encode('a bc') == [2, 1, 3, 4]


def test_training_is_deterministic():
    assert SentencePieceTokenizer.train(TEXTS, 'bpe', 36).model == SentencePieceTokenizer.train(TEXTS, 'bpe', 36).model


@pytest.mark.parametrize('kind', ['unigram', 'bpe'])
@pytest.mark.parametrize(('size', 'message'), [(5, 'at least'), (5000, 'at most')])
def test_impossible_vocabularies_say_the_limit(kind, size, message):
    with pytest.raises(UserError, match=f'vocab_size={size} .*{message} [0-9]+'):
        train_tokenizer(TEXTS, kind, size)


@pytest.mark.parametrize('kind', ['unigram', 'bpe'])
def test_the_limits_named_are_possible(kind):
    for size in (5, 5000):
        with pytest.raises(UserError) as caught:
            train_tokenizer(TEXTS, kind, size)
        limit = int(str(caught.value).rstrip('.').split()[-1])
        assert train_tokenizer(TEXTS, kind, limit).vocab_size == limit


def test_mistakes_of_kind():
    with pytest.raises(UserError, match="'word' is unknown: choose one of char, byte, unigram, bpe"):
        train_tokenizer(TEXTS, 'word')
    with pytest.raises(UserError, match='tokenizer=bpe needs a vocab_size'):
        train_tokenizer(TEXTS, 'bpe')
    with pytest.raises(UserError, match='has none'):
        train_tokenizer([''])


@pytest.mark.parametrize(
    'content', ['', '{', '[]', '{"kind": "char"}', '{"kind": "sentencepiece", "model": "AAAA"}', '{"kind": "word"}']
)
def test_foreign_tokenizer_file(tmp_path, content):
    path = tmp_path / 'tokenizer.json'
    path.write_text(content)
    with pytest.raises(UserError, match='tokenizer.json'):
        load_tokenizer(path)
    with pytest.raises(UserError, match='does not exist'):
        load_tokenizer(tmp_path / 'missing.json')


def test_tokenizer_file_is_json(tmp_path):
    CharTokenizer.train(['ab']).save(tmp_path / 'char.json')
    assert json.loads((tmp_path / 'char.json').read_text()) == {'kind': 'char', 'alphabet': ' ab'}


def test_names_of_labels_have_no_space():
    assert CharTokenizer("a b'").names == ('▁', "'", 'a', 'b')
    pieces = train_tokenizer(['a rat', 'a cat sat'] * 5, 'bpe', 12)
    assert len(pieces.names) == pieces.vocab_size - 1
    assert ''.join(pieces.names[label - 1] for label in pieces.encode('a cat')) == '▁a▁cat'
