"""The examples in the documentation."""

import doctest
from pathlib import Path


def test_docs_bilevel():
    results = doctest.testfile(str(Path(__file__).parents[2] / 'docs' / 'bilevel.md'), module_relative=False)
    assert results.attempted > 0
    assert results.failed == 0
