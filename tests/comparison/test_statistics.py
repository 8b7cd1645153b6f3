"""Intervals against closed forms and simulated truth, p-values against enumeration, Holm against its definition."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from bljust_jax.comparison import statistics
from bljust_jax.comparison.statistics import (
    Scores,
    against,
    bootstrap_interval,
    holm,
    permutation_p,
    score,
    seed_interval,
    table_row,
)
from bljust_jax.errors import UserError
from bljust_jax.metrics import error_rates

probabilities = st.lists(st.floats(0, 1), max_size=8)
sentences = st.text(alphabet='ab ', max_size=10)


def line(name: str, reference: str, hypothesis: str, speaker: str = 'anna') -> dict[str, str]:
    return {'id': name, 'speaker': speaker, 'reference': reference, 'hypothesis': hypothesis}


def scores_of(errors, units, speakers=None) -> Scores:
    """Scores of `errors` [seeds, utterances]; without speakers, all are of one."""
    errors, units = np.array(errors, np.float64), np.array(units, np.float64)
    ids = tuple(f'{index:05}' for index in range(len(units)))
    return Scores(errors, units, tuple(speakers or ['anna'] * len(ids)), ids)


def simulated(rng: np.random.Generator, n: int, rate: float, spread: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Errors and units of n utterances: binomial, their rates beta-distributed with standard deviation `spread`."""
    units = rng.integers(100, 400, n)
    if spread:
        total = rate * (1 - rate) / spread**2 - 1
        rate = rng.beta(rate * total, (1 - rate) * total, n)
    return rng.binomial(units, rate).astype(float), units.astype(float)


class TestScore:
    runs = (
        [line('b', 'the cat sat', 'the bat'), line('a', 'hello', 'hello hello', 'bert')],
        [line('a', 'hello', '', 'bert'), line('b', 'the cat sat', 'the cat sat')],
    )

    def test_by_hand(self):
        words = score(self.runs, 'wer', 'test')
        assert (words.ids, words.speakers) == (('a', 'b'), ('bert', 'anna'))
        np.testing.assert_array_equal(words.errors, [[1, 2], [1, 0]])
        np.testing.assert_array_equal(words.units, [1, 3])
        np.testing.assert_allclose(words.rates, [3 / 4, 1 / 4])
        characters = score(self.runs, 'cer', 'test')
        np.testing.assert_array_equal(characters.errors, [[6, 5], [5, 0]])  # ' hello'; c -> b and ' sat'
        np.testing.assert_array_equal(characters.units, [5, 11])

    @given(st.lists(st.tuples(sentences, sentences), max_size=6))
    def test_adds_up_to_the_corpus(self, pairs):
        run = [line(str(index), *pair) for index, pair in enumerate(pairs)]
        rates = error_rates([reference for reference, _ in pairs], [hypothesis for _, hypothesis in pairs])
        assert score([run], 'wer', 'dev').rates == [rates.wer]
        assert score([run], 'cer', 'dev').rates == [rates.cer]
        words = score([run], 'wer', 'dev')
        assert words.units.sum() == rates.words
        assert words.errors.sum() == rates.substitutions + rates.deletions + rates.insertions

    def test_an_unknown_speaker_has_no_name(self):
        run = [line('a', 'x', 'x') | {'speaker': None}, {'id': 'b', 'reference': 'x', 'hypothesis': 'x'}]
        assert score([run], 'wer', 'dev').speakers == ('', '')

    @pytest.mark.parametrize(
        'other', [line('c', 'a', 'a'), line('b', 'another', 'a'), line('b', 'the cat sat', 'a', 'carl')]
    )
    def test_other_utterances_are_refused(self, other):
        with pytest.raises(UserError, match=f'same test_unseen: .*{other["id"]}'):
            score([self.runs[0], [self.runs[0][1], other]], 'wer', 'test_unseen')

    def test_an_utterance_less_is_refused(self):
        with pytest.raises(UserError, match=r'same dev: 1 utterances .*\(b\)'):
            score([self.runs[0], self.runs[1][:1]], 'wer', 'dev')

    def test_ids_must_differ(self):
        with pytest.raises(UserError, match='2 utterances of dev, only 1 ids differ'):
            score([[line('a', 'x', 'x')] * 2], 'wer', 'dev')

    def test_wrong_calls(self):
        with pytest.raises(ValueError, match="'per'"):
            score(self.runs, 'per', 'dev')
        with pytest.raises(ValueError, match='no run to score on dev'):
            score([], 'wer', 'dev')


class TestTableRow:
    def test_mean_and_deviation_over_seeds(self):
        row = table_row(scores_of([[1, 2], [3, 0], [2, 4]], [4, 6]))
        assert row['mean'] == pytest.approx(0.4)
        assert row['std'] == pytest.approx(math.sqrt((0.1**2 + 0.1**2 + 0.2**2) / 2))
        assert table_row(scores_of([[1, 2]], [4, 6]))['std'] is None
        json.dumps(row, allow_nan=False)

    def test_width_is_that_of_the_mean_of_independent_utterances(self):
        """Equally long utterances: the rate is a mean, whose standard error and t interval are known."""
        errors = np.random.default_rng(0).binomial(20, 0.2, 400).astype(float)
        low, high = table_row(scores_of([errors], [20] * 400))['interval']
        closed = stats.t.interval(0.95, 399, errors.mean() / 20, stats.sem(errors) / 20)
        assert high - low == pytest.approx(closed[1] - closed[0], rel=0.05)
        np.testing.assert_allclose([low, high], closed, atol=0.05 * (high - low))
        binomial = 2 * 1.96 * math.sqrt(0.2 * 0.8 / (400 * 20))
        assert high - low == pytest.approx(binomial, rel=0.15)  # errors vary by chance

    def test_width_is_that_of_a_ratio(self):
        """Utterances of any length, errors more in long ones: the linearised variance of a ratio of sums."""
        errors, units = simulated(np.random.default_rng(1), 500, 0.25, 0.1)
        low, high = bootstrap_interval(errors, units)
        rate = errors.sum() / units.sum()
        deviation = np.std(errors - rate * units, ddof=1) * math.sqrt(500) / units.sum()
        assert high - low == pytest.approx(2 * 1.96 * deviation, rel=0.05)

    @pytest.mark.parametrize(('sampled', 'spread', 'least'), [(60, 0.0, 0.90), (8, 0.1, 0.87)])
    def test_holds_the_truth(self, sampled, spread, least):
        """Few speakers are what expanded percentiles are for: plain ones hold it in 89% of such cases."""
        rng = np.random.default_rng(2)
        intervals = [bootstrap_interval(*simulated(rng, sampled, 0.25, spread)) for _ in range(200)]
        assert least <= np.mean([low <= 0.25 <= high for low, high in intervals]) <= 0.99

    def test_expanded_level(self):
        # Twice Φ(√(n/(n − 1)) t), with t of a printed table: 2.776 for 4 degrees of freedom, 1.984 for 99.
        assert statistics._expanded_level(5) == pytest.approx(1 - 2 * stats.norm.sf(math.sqrt(5 / 4) * 2.776), abs=1e-5)
        assert statistics._expanded_level(100) == pytest.approx(0.954, abs=1e-3)
        assert statistics._expanded_level(100_000) == pytest.approx(0.95, abs=1e-5)

    def test_seeds_are_averaged(self):
        errors, units = simulated(np.random.default_rng(3), 40, 0.2)
        one = table_row(scores_of([errors], units))
        two = table_row(scores_of([errors + 2, errors - 2], units))
        assert two['interval'] == pytest.approx(one['interval']) and two['mean'] == pytest.approx(one['mean'])

    def test_a_speaker_counts_once_however_much_was_recorded(self):
        """Each utterance four times: half the width over utterances, the same over speakers."""
        errors, units = simulated(np.random.default_rng(4), 30, 0.2, 0.1)
        speakers = [f'{index:02}' for index in range(30)]
        once = table_row(scores_of([errors], units, speakers))
        often = table_row(scores_of([np.tile(errors, 4)], np.tile(units, 4), speakers * 4))
        assert once['speaker_interval'] == once['interval']
        assert often['speaker_interval'] == pytest.approx(once['speaker_interval'])
        width = np.ptp(often['speaker_interval'])
        assert width / np.ptp(often['interval']) == pytest.approx(2, rel=0.1)

    def test_four_speakers_or_unknown_ones_have_no_interval(self):
        def over(speakers):
            return table_row(scores_of([np.arange(10)], [20] * 10, speakers * 2))['speaker_interval']

        assert over(['a', 'b', 'c', 'd', 'd']) is None
        assert over(['a', 'b', 'c', 'd', '']) is None
        assert over(['a', 'b', 'c', 'd', 'e']) is not None

    def test_silent_references(self):
        row = table_row(scores_of([[0, 0, 1]], [0, 0, 0]))
        assert row['mean'] == 1.0 and all(map(math.isfinite, row['interval']))

    def test_two_utterances_at_least(self):
        assert bootstrap_interval(np.array([1.0, 2.0]), np.array([4.0, 4.0])) == [0.25, 0.5]
        with pytest.raises(ValueError, match='at least two utterances, and there is 1'):
            bootstrap_interval(np.array([1.0]), np.array([4.0]))

    @pytest.mark.parametrize('count', [0, 1])
    def test_a_split_of_one_utterance_or_none_has_no_intervals(self, count):
        scores = scores_of([[1] * count, [3] * count], [4] * count)
        row, test = table_row(scores), against(scores, scores)
        assert row['mean'] == pytest.approx(0.5 * count)
        assert row['interval'] is row['speaker_interval'] is test['interval'] is None and test['p'] == 1.0


class TestAgainst:
    def test_point_estimates(self):
        result = against(scores_of([[1, 2], [1, 0]], [4, 6]), scores_of([[2, 2], [2, 2]], [4, 6]))
        assert result['difference'] == pytest.approx(-0.2) and result['relative'] == pytest.approx(-0.5)
        json.dumps(result, allow_nan=False)

    def test_identical_arms(self):
        errors, units = simulated(np.random.default_rng(0), 50, 0.3)
        scores = scores_of([errors, errors + 1, errors], units, [f'{index % 7}' for index in range(50)])
        assert against(scores, scores) == {
            'difference': 0.0, 'relative': 0.0, 'interval': [0.0, 0.0], 'speaker_interval': [0.0, 0.0],
            'seed_interval': [0.0, 0.0], 'p': 1.0,
        }  # fmt: skip

    def test_a_faultless_reference_has_no_relative_difference(self):
        result = against(scores_of([[1, 2]], [4, 6]), scores_of([[0, 0]], [4, 6]))
        assert result['relative'] is None and result['difference'] == pytest.approx(0.3)

    def test_pairing_leaves_out_what_is_hard_for_both(self):
        rng = np.random.default_rng(5)
        errors, units = simulated(rng, 200, 0.3, 0.15)
        better = errors - rng.binomial(errors.astype(int), 0.1)
        result = against(scores_of([better], units), scores_of([errors], units))
        assert np.ptp(result['interval']) < np.ptp(table_row(scores_of([errors], units))['interval']) / 3
        assert result['interval'][1] < 0 and result['p'] == pytest.approx(1e-4)

    def test_two_seeds_have_one_degree_of_freedom(self):
        """Differences of 0.01 and 0.03: mean 0.02, standard error 0.01, and t of a printed table is 12.706."""
        result = against(scores_of([[12, 9], [14, 9]], [50, 50]), scores_of([[10, 10], [10, 10]], [50, 50]))
        assert result['seed_interval'] == pytest.approx([0.02 - 0.12706, 0.02 + 0.12706], abs=1e-5)

    @given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=6))
    def test_seeds_are_paired_as_in_a_t_test(self, errors):
        assume(len({ours - theirs for ours, theirs in errors}) > 1)
        arm, base = np.array(errors, float).T / 50
        interval = stats.ttest_rel(arm, base).confidence_interval(0.95)
        assert seed_interval(arm - base) == pytest.approx([interval.low, interval.high])

    def test_one_seed_tells_nothing_of_others(self):
        assert seed_interval(np.array([0.1])) is None

    def test_only_what_is_comparable(self):
        reference = scores_of([[1, 2], [1, 0]], [4, 6])
        with pytest.raises(ValueError, match='arm has 1 seeds and the reference 2'):
            against(scores_of([[1, 2]], [4, 6]), reference)
        with pytest.raises(ValueError, match='same utterances'):
            against(scores_of([[1, 2], [1, 0]], [4, 7]), reference)
        with pytest.raises(ValueError, match=r"same utterances .* only one has \['00002'\]"):
            against(scores_of([[1, 2, 0], [1, 0, 0]], [4, 6, 1]), reference)


class TestPermutation:
    @pytest.mark.parametrize('seed', range(3))
    def test_full_enumeration_of_eight(self, seed):
        differences = np.random.default_rng(seed).integers(-3, 6, 8).astype(float)
        sums = [abs(np.dot(signs, differences)) for signs in itertools.product([-1, 1], repeat=8)]
        assert permutation_p(differences) == np.mean(np.array(sums) >= abs(differences.sum()))

    def test_zeros_change_nothing(self):
        differences = np.array([3.0, -1, 2, 2, -1])
        assert permutation_p(np.concatenate([differences, np.zeros(500)])) == permutation_p(differences)

    def test_many_utterances_are_nearly_normal(self):
        differences = np.random.default_rng(1).normal(0.1, 1, 400)
        z = differences.sum() / math.sqrt((differences**2).sum())
        assert permutation_p(differences) == pytest.approx(2 * stats.norm.sf(abs(z)), abs=0.015)

    def test_is_valid_under_its_null(self):
        rng = np.random.default_rng(2)
        ps = [permutation_p(rng.integers(-3, 4, 12).astype(float)) for _ in range(200)]
        assert np.mean(np.array(ps) <= 0.05) <= 0.09  # 0.05 and three standard errors

    def test_sides_are_equal(self):
        differences = np.random.default_rng(3).normal(0.2, 1, 100)
        assert permutation_p(differences) == pytest.approx(permutation_p(-differences), abs=0.01)

    @pytest.mark.parametrize('differences', [[], [0.0, 0.0], [5.0]])
    def test_too_few_to_tell(self, differences):
        assert permutation_p(np.array(differences)) == 1.0


class TestHolm:
    def test_by_hand(self):
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
        assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([0.02]) == [0.02] and holm([]) == []

    @given(probabilities, st.floats(0.01, 0.99))
    def test_rejects_what_stepping_down_rejects(self, ps, alpha):
        rejected = set()
        for step, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
            if ps[index] * (len(ps) - step) > alpha:
                break
            rejected.add(index)
        assert {index for index, p in enumerate(holm(ps)) if p <= alpha} == rejected

    @given(probabilities, st.randoms(use_true_random=False))
    def test_order_does_not_matter(self, ps, chance):
        order = chance.sample(range(len(ps)), len(ps))
        assert holm([ps[index] for index in order]) == [holm(ps)[index] for index in order]

    @pytest.mark.parametrize('p', [-0.1, 1.1, math.nan])
    def test_only_probabilities(self, p):
        with pytest.raises(ValueError, match=r'lie in \[0, 1\]'):
            holm([0.5, p])


@settings(max_examples=10)
@given(
    st.lists(st.tuples(st.sampled_from(['a b', 'b', 'a b a']), sentences, sentences), min_size=2, max_size=8),
    st.randoms(use_true_random=False),
)
def test_order_of_utterances_does_not_matter(texts, chance):
    arm = [line(str(index), reference, heard) for index, (reference, heard, _) in enumerate(texts)]
    base = [line(str(index), reference, heard) for index, (reference, _, heard) in enumerate(texts)]
    shuffled = [score([chance.sample(run, len(run))], 'wer', 'dev') for run in (arm, base)]
    assert table_row(score([arm], 'wer', 'dev')) == table_row(shuffled[0])
    assert against(score([arm], 'wer', 'dev'), score([base], 'wer', 'dev')) == against(*shuffled)
