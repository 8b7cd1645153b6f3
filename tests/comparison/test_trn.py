"""Written files parsed back, by the rules of sclite."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bljust_jax.comparison.trn import write_trn

names = st.text(st.characters(codec='utf-8'), min_size=1, max_size=6)


def line(name: str, speaker: str | None, reference: str, hypothesis: str = '') -> dict[str, str | None]:
    return {'id': name, 'speaker': speaker, 'reference': reference, 'hypothesis': hypothesis}


def parse(path: Path) -> list[tuple[str, str, str]]:
    """(words, speaker, id) of each line: the id is in the last brackets, the speaker before its first hyphen."""
    records = []
    for record in path.read_text(encoding='utf-8').removesuffix('\n').split('\n'):
        words, name = re.fullmatch(r'(.*) \(([!-~]+)\)', record).groups()
        assert not set('()') & set(words + name) and not words.startswith(';;')
        speaker, hyphen, rest = name.partition('-')
        assert hyphen
        records.append((words, unquote(speaker), unquote(rest)))
    return records


def test_as_sclite_wants_it(tmp_path):
    lines = [line('0002', '1272', 'a big cat', 'a cat'), line('0001', '174', "it's"), line('x', None, 'é', 'e')]
    write_trn(tmp_path / 'reference.trn', lines, 'reference')
    write_trn(tmp_path / 'hypothesis.trn', lines, 'hypothesis')
    assert (tmp_path / 'reference.trn').read_text(encoding='utf-8') == (
        "a big cat (1272-0002)\nit's (174-0001)\né (unknown-x)\n"
    )
    assert (tmp_path / 'hypothesis.trn').read_text(
        encoding='utf-8'
    ) == 'a cat (1272-0002)\n (174-0001)\ne (unknown-x)\n'


def test_hostile_names(tmp_path):
    lines = [
        line('a/b (1) c.wav', 'anna-lena', 'x'),
        line('A/b (1) c.wav', 'anna-lena', 'x'),
        line('lena-1', 'anna', 'x'),
        line('1', 'anna-lena', 'x'),
        line('%2D\n;;', '(Ünal)', 'x'),
    ]
    write_trn(tmp_path / 'a.trn', lines, 'reference')
    assert parse(tmp_path / 'a.trn') == [('x', one['speaker'], one['id']) for one in lines]


def test_marks_within_words_are_only_words(tmp_path):
    write_trn(tmp_path / 'a.trn', [line('1', 's', ';; {a / @} \n (b) c* \\d  e')], 'reference')
    ((words, _, _),) = parse(tmp_path / 'a.trn')
    assert words == '；； ｛a / ＠｝ （b） c＊ ＼d e'


@given(st.lists(st.tuples(names, names), min_size=1, max_size=6, unique=True))
def test_names_come_back(tmp_path_factory, pairs):
    path = tmp_path_factory.mktemp('trn') / 'a.trn'
    write_trn(path, [line(name, speaker, 'a b') for speaker, name in pairs], 'reference')
    assert parse(path) == [('a b', speaker, name) for speaker, name in pairs]


def test_nothing_to_write(tmp_path):
    write_trn(tmp_path / 'a.trn', [], 'reference')
    assert (tmp_path / 'a.trn').read_bytes() == b''


def test_ids_must_differ(tmp_path):
    lines = [line(name, 'anna', 'x') for name in '121']
    with pytest.raises(ValueError, match='more than once: anna-1'):
        write_trn(tmp_path / 'a.trn', lines, 'reference')
    assert not list(tmp_path.iterdir())
