"""ARPA files: what is written is read, what others write too, and what is none is said."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bljust_jax.errors import UserError
from bljust_jax.lm import kneser_ney, read_arpa, write_arpa

# As toolkits write it: a comment on top, spaces or tabs, back-off weights only where there are any.
FOREIGN = """made by hand

\\data\\
ngram 1=5
ngram  2 = 3

\\1-grams:
-99\t<s>\t-0.30103
-1.0\t<unk>
-0.5\ta\t-0.2
-0.6 b -0.1
-0.7\t</s>

\\2-grams:
-0.1\t<s> a
-0.2\ta b
-0.3\tb </s>

\\end\\
"""


@given(st.lists(st.text('ab▁', max_size=6), min_size=1, max_size=6), st.integers(1, 4))
def test_what_is_written_is_read(tmp_path_factory, sentences, order):
    path = tmp_path_factory.mktemp('lm') / 'model.arpa'
    model = kneser_ney(sentences, 'ab▁', order)
    write_arpa(path, model)
    again = read_arpa(path)
    assert again.order == order and again.entries.keys() == model.entries.keys()
    for ngram, entry in model.entries.items():
        assert again.entries[ngram] == pytest.approx(entry, rel=1e-7, abs=1e-7)


def test_other_toolkits_files(tmp_path: Path):
    path = tmp_path / 'model.arpa'
    path.write_text(FOREIGN)
    model = read_arpa(path)
    assert model.order == 2
    expected = {
        (('<s>',), 'a'): -0.1,
        (('a',), 'b'): -0.2,
        (('<s>', 'a'), 'b'): -0.2,
        (('a',), 'a'): -0.2 - 0.5,
        (('<s>',), 'b'): -0.30103 - 0.6,
        (('b',), '</s>'): -0.3,
        (('</s>',), 'a'): -0.5,
        ((), '<unk>'): -1.0,
    }
    for (context, word), log10 in expected.items():
        assert model.log_prob(context, word) == pytest.approx(log10 * math.log(10)), (context, word)
    assert model.perplexity(['ab']) == pytest.approx(10 ** ((0.1 + 0.2 + 0.3) / 3))


@pytest.mark.parametrize(
    ('old', 'new', 'sentence'),
    [
        ('-0.2\ta b', '-0.2\ta', "line 16, is no ARPA: '-0.2\\\\ta'"),
        ('-0.2\ta b', 'x\ta b', 'line 16, is no ARPA'),
        ('-0.2\ta b', '0.2\ta b', 'line 16, is no ARPA'),
        ('-0.2\ta b', 'nan\ta b', 'line 16, is no ARPA'),
        ('-0.2\ta b', '-0.2\tb </s>', 'line 17, is no ARPA'),
        ('ngram 1=5', 'ngram one', 'line 4, is no ARPA'),
        ('ngram 1=5', 'ngram 1=6', r'no whole ARPA file: it announces \{1: 6, 2: 3\} n-grams by length and lists'),
        ('\\end\\', '', 'no whole ARPA file'),
        (FOREIGN, 'Once upon a time', 'no whole ARPA file'),
    ],
)
def test_what_is_no_arpa_is_said(tmp_path: Path, old, new, sentence):
    path = tmp_path / 'model.arpa'
    path.write_text(FOREIGN.replace(old, new))
    with pytest.raises(UserError, match=sentence) as raised:
        read_arpa(path)
    assert str(path) in str(raised.value)


def test_files_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(UserError, match='There is no language model .*: python -m bljust_jax.lm makes one'):
        read_arpa(tmp_path / 'model.arpa')
    (tmp_path / 'binary').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(UserError, match='is no ARPA file'):
        read_arpa(tmp_path / 'binary')
