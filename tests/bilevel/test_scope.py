"""Tests of the rules that say which level owns a leaf."""

import doctest

import jax.numpy as jnp
import optax
import pytest

from bljust_jax.bilevel import by_prefix, by_regex, penalty, scope
from bljust_jax.bilevel.scope import owners, paths_of

PARAMS = {
    'encoder': {'blocks': [{'kernel': 0.0}, {'kernel': 0.0}]},
    'heads': {'ctc': {'bias': 0.0}, 'ctc_2': {'bias': 0.0}, 'unsup': {'bias': 0.0}},
}
EXPECTED = [None, None, 0, 1, 2]
PREFIXES = {'encoder': None, 'heads/ctc': 0, 'heads/ctc_2': 1, 'heads/unsup/bias': 2}
REGEXES = {r'encoder/.*/\d/kernel': None, r'heads/ctc/\w+': 0, r'heads/ctc_\d/.*': 1, r'.*/unsup/.*': 2}


def owned(rules, params=PARAMS, lower=2):
    return owners(paths_of(params), rules, lower)


@pytest.mark.parametrize('rules', [by_prefix(PREFIXES), by_regex(REGEXES)])
def test_rules_assign_every_leaf(rules):
    assert owned(rules) == EXPECTED


def test_a_prefix_may_be_a_whole_path_and_ends_with_a_key():
    assert owned(by_prefix({'a': 0, 'ab/0': 1}), {'a': 0.0, 'ab': [0.0]}) == [0, 1]


def test_a_regex_matches_the_whole_path():
    with pytest.raises(ValueError, match="'encoder/blocks/0/kernel' matches none of 'encoder', 'heads.*'"):
        owned(by_regex({'encoder': None, 'heads.*': 0}))


@pytest.mark.parametrize(
    ('rules', 'message'),
    [
        (by_prefix({'encoder': None, 'heads/ctc': 0}), "'heads/ctc_2/bias' matches none of 'encoder', 'heads/ctc'"),
        (
            by_prefix({'encoder': None, 'heads': 0, 'heads/unsup': 1}),
            "'heads/unsup/bias' matches 'heads' and 'heads",
        ),
        (by_regex({'encoder/.*': None, '.*/bias': 0, '.*ctc/.*': 1}), "'heads/ctc/bias' matches '.*/bias' and '.*ctc"),
        (by_prefix({}), "'encoder/blocks/0/kernel' matches none of"),
    ],
)
def test_a_leaf_of_no_rule_or_of_two_raises_and_is_named(rules, message):
    with pytest.raises(ValueError, match=message):
        penalty((1.0, 1.0), scope=rules).init(PARAMS)


def test_paths_are_plain_keys():
    tree = {'heads': {'ctc': {'kernel': 0.0}}, 'blocks': [0.0, (0.0,)], 'state': optax.ScaleByScheduleState(0.0)}
    assert set(paths_of(tree)) == {('heads', 'ctc', 'kernel'), ('blocks', 0), ('blocks', 1, 0), ('state', 'count')}


@pytest.mark.parametrize('level', [2, -1, 'sup', True, 1.0])
def test_an_unknown_level_raises_and_names_the_path(level):
    params = {'encoder': jnp.ones([2]), 'heads': {'sup': jnp.ones([2])}}
    transform = penalty(1.0, scope=lambda path: level if path[0] == 'heads' else None)
    with pytest.raises(ValueError, match=r"\('heads', 'sup'\).* 0 to 1"):
        transform.init(params)
    with pytest.raises(ValueError, match=r"\('heads', 'sup'\).* 0 to 1"):
        transform.update(params, penalty(1.0).init(params), params, lower_grads=(params,))


def test_docstring_examples():
    results = doctest.testmod(scope)
    assert results.attempted > 0
    assert results.failed == 0
