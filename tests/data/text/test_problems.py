import pytest
from hypothesis import given
from hypothesis import strategies as st

from bljust_jax.data.text import check_text

BIDI = [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]


@pytest.mark.parametrize('code', [0, 0xD800, 0xDFFF, 0xFFFD, *BIDI])
def test_a_damaged_text_is_told_with_the_place(code):
    assert check_text(f'ab{chr(code)}c').endswith(f'(U+{code:04X} at character 2)')


@given(st.text())
def test_only_damaged_text_is_told(text):
    damaged = any(ord(c) in (0, 0xFFFD, *BIDI) or 0xD800 <= ord(c) < 0xE000 for c in text)
    assert (check_text(text) is not None) == damaged


@pytest.mark.parametrize('text', ['', 'Привет', 'क्\u200dषण', 'می\u200cخواهم', '你好', '\u200fשלום', "it's\tfine\n"])
def test_ordinary_text_of_any_script_is_none(text):
    assert check_text(text) is None
