"""How sure one may be of an error rate, and of the difference of two: intervals and tests over a test set.

An arm is scored by the errors of each utterance i, averaged over its seeds, and its rate is Σ errors_i / Σ units_i,
where units are reference words or characters. Resampling keeps an utterance's errors and units together, and those of
two arms too: what makes an utterance hard for both leaves their difference.

- Intervals are percentiles of 9,999 bootstrap resamples (Bisani and Ney, "Bootstrap estimates for confidence intervals
  in ASR performance evaluation", ICASSP 2004), further out by what a t interval is wider than a normal one: Hesterberg,
  "What teachers should know about the bootstrap", The American Statistician 69(4), 2015. With hundreds of utterances
  that changes nothing; with few speakers plain percentiles, and BCa no less, are too narrow. Of 1,000 simulated test
  sets (tests/comparison/test_statistics.py), the 95% interval held the truth in

  | speakers | 5 | 8 | 12 |
  |---|---|---|---|
  | percentile | 81% | 89% | 91% |
  | BCa | 81% | 89% | 91% |
  | expanded percentile (here) | 90% | 94% | 95% |

- The p-value is of a paired permutation test. Its null hypothesis: the two arms are interchangeable. Of the two
  numbers of errors in an utterance, a coin decides which arm makes which, tossed anew for each utterance.

Utterances of one speaker are not independent: a speaker's voice and microphone help or hurt all of them. Intervals over
utterances and the p-value therefore claim too much about other speakers. Intervals over speakers are the stricter, and
those to trust if the two disagree. All of this is about these trained models on other utterances or speakers. Other
seeds are what the paired t interval over seeds is about: two runs of one seed have the same initialisation and the same
data, and what that does to both leaves their difference. Two seeds give it one degree of freedom: t is 12.7.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from bljust_jax.errors import UserError
from bljust_jax.metrics import ErrorRates, error_rates

LEVEL = 0.95
RESAMPLES = 9_999
MIN_SPEAKERS = 5
_SEED = 0
_BATCH_ELEMENTS = 2**20  # of resamples made at once: bounds the memory, about 50 MB

Line = Mapping[str, Any]
_COUNTS = {
    'wer': lambda rates: (rates.substitutions + rates.deletions + rates.insertions, rates.words),
    'cer': lambda rates: (rates.character_errors, rates.characters),
}


class Scores(NamedTuple):
    """One arm on one split, by one metric; utterances are sorted by id.

    Attributes:
      errors: errors of each seed's run `[seeds, utterances]`, whole numbers in float64.
      units: reference words or characters `[utterances]`, float64.
      speakers: speaker of each utterance, '' if unknown.
      ids: id of each utterance.
    """

    errors: np.ndarray
    units: np.ndarray
    speakers: tuple[str, ...]
    ids: tuple[str, ...]

    @property
    def rates(self) -> np.ndarray:
        """Error rate of the corpus, a fraction, by seed `[seeds]`."""
        return _rate(self.errors, self.units)


def score(runs: Sequence[Sequence[Line]], metric: str, split: str) -> Scores:
    """Counts the errors of an arm's runs, one run for each seed.

    Args:
      runs: lines of each run's `hypotheses/<split>.jsonl`, with `id`, `speaker`, `reference` and `hypothesis`.
      metric: 'wer' or 'cer', counted as `bljust_jax.metrics.error_rates` does.
      split: its name, for messages.

    Raises:
      ValueError: for no runs, or another metric.
      UserError: if an id comes twice, or the runs differ in ids, references or speakers.
    """
    if metric not in _COUNTS:
        raise ValueError(f"The metric must be 'wer' or 'cer', not {metric!r}.")
    if not runs:
        raise ValueError(f'There is no run to score on {split}.')
    hypotheses = [_by_id(lines, split) for lines in runs]
    first = hypotheses[0]
    for other in hypotheses[1:]:
        _check_same(first, other, split)
    ids = sorted(first)
    counts = np.array([[_COUNTS[metric](_utterance(run[name])) for name in ids] for run in hypotheses], np.float64)
    counts = counts.reshape(len(runs), len(ids), 2)
    return Scores(counts[..., 0], counts[0, :, 1], tuple(_speaker(first[name]) for name in ids), tuple(ids))


def table_row(scores: Scores) -> dict[str, Any]:
    """An arm by itself.

    Returns:
      `mean`: of the corpus rate over seeds; `std`: over seeds (n − 1), None for a single one; `interval`: 95% interval
      `[low, high]` of the mean over utterances; `speaker_interval`: the same over speakers, None if there are fewer
      than 5 or some are unknown. A single utterance has neither.
    """
    rates = scores.rates
    return {
        'mean': float(rates.mean()),
        'std': float(rates.std(ddof=1)) if len(rates) > 1 else None,
        **_intervals(scores.errors.mean(0), scores),
    }


def against(scores: Scores, reference: Scores) -> dict[str, Any]:
    """An arm against the reference, paired by utterance; the caller has chosen seeds that both have.

    Returns:
      `difference`: mean rate of the arm minus that of the reference; `relative`: divided by that of the reference (None
      if that is 0); `interval`, `speaker_interval`: of the difference, as in `table_row`; `seed_interval`: of
      `seed_interval`, the seeds of both being in one order; `p`: two-sided, of `permutation_p`.

    Raises:
      ValueError: if the two do not have equally many seeds, or not the same utterances.
    """
    if len(scores.errors) != len(reference.errors):
        raise ValueError(
            f'The arm has {len(scores.errors)} seeds and the reference {len(reference.errors)}: give those of both.'
        )
    if scores.ids != reference.ids or not np.array_equal(scores.units, reference.units):
        unlike = sorted(set(scores.ids) ^ set(reference.ids))
        raise ValueError(
            f'The arm ({len(scores.ids)} utterances) and the reference ({len(reference.ids)}) must be scored on the '
            f'same utterances by the same metric; only one has {unlike[:3]}.'
        )
    base = float(reference.rates.mean())
    difference = float(scores.rates.mean()) - base
    # Errors are summed, not averaged, over seeds for the test: between whole numbers, ties are exact.
    return {
        'difference': difference,
        'relative': difference / base if base else None,
        **_intervals(scores.errors.mean(0) - reference.errors.mean(0), scores),
        'seed_interval': seed_interval(scores.rates - reference.rates),
        'p': permutation_p(scores.errors.sum(0) - reference.errors.sum(0)),
    }


def seed_interval(differences: np.ndarray) -> list[float] | None:
    """Paired t interval `[low, high]` of the mean difference over seeds, with n − 1 degrees; None for a single seed.

    Args:
      differences: rate of one arm minus that of the other, by seed `[n]`.
    """
    n = len(differences)
    if n < 2:
        return None
    mean, error = differences.mean(), differences.std(ddof=1) / np.sqrt(n)
    width = stats.t.ppf((1 + LEVEL) / 2, n - 1) * error
    return [float(mean - width), float(mean + width)]


def bootstrap_interval(errors: np.ndarray, units: np.ndarray) -> list[float]:
    """Bootstrap interval `[low, high]` of Σ errors / Σ units; see the top of this file.

    Args:
      errors: of each sampling unit (utterance or speaker) `[n]`, or differences of errors.
      units: reference words or characters `[n]`.

    Raises:
      ValueError: for n < 2.
    """
    if len(units) < 2:
        raise ValueError(f'An interval needs at least two utterances, and there is {len(units)}: use a larger split.')
    interval = stats.bootstrap(
        (errors, units),
        _rate,
        paired=True,
        vectorized=True,
        method='percentile',
        confidence_level=_expanded_level(len(units)),
        n_resamples=RESAMPLES,
        batch=_batch(len(units)),
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    return [float(interval.low), float(interval.high)]


def permutation_p(differences: np.ndarray) -> float:
    """Two-sided p-value of a paired permutation test: how often random signs give at least this sum's size.

    Exact while all sign flips are no more than 9,999; else from that many random ones, and never below 1 / 10,000.

    Args:
      differences: errors of one arm minus those of the other `[utterances]`.
    """
    differences = differences[differences != 0]  # a zero's sign changes nothing
    if len(differences) < 2:
        return 1.0
    test = stats.permutation_test(
        (differences,),
        lambda flipped, axis: np.abs(flipped.sum(axis)),
        permutation_type='samples',
        alternative='greater',  # of the absolute sum: two-sided
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=_batch(len(differences)),
        rng=np.random.default_rng(_SEED),
    )
    return float(test.pvalue)


def holm(ps: Sequence[float]) -> list[float]:
    """P-values of several tests adjusted by Holm's step-down method, in the order given.

    The i-th smallest of m becomes the largest of (m − j + 1) p_(j) over j ≤ i, at most 1: those at or below α hold
    together, with probability α of one false rejection or more, however the tests depend on each other. Holm, "A simple
    sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.

    Raises:
      ValueError: for anything outside [0, 1].
    """
    values = np.asarray(ps, np.float64)
    if not np.all((values >= 0) & (values <= 1)):
        raise ValueError(f'p-values lie in [0, 1]: {list(ps)}.')
    order = np.argsort(values)
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(steps, 1)
    return adjusted.tolist()


def _rate(errors: np.ndarray, units: np.ndarray, axis: int = -1) -> np.ndarray:
    return errors.sum(axis) / np.maximum(units.sum(axis), 1)  # as ErrorRates divides


def _intervals(errors: np.ndarray, scores: Scores) -> dict[str, list[float] | None]:
    """Intervals of Σ errors / Σ units over utterances, and over speakers; None where there are too few."""
    speakers, index = np.unique(scores.speakers, return_inverse=True)
    known = len(speakers) >= MIN_SPEAKERS and '' not in scores.speakers
    return {
        'interval': bootstrap_interval(errors, scores.units) if len(scores.units) > 1 else None,
        'speaker_interval': bootstrap_interval(np.bincount(index, errors), np.bincount(index, scores.units))
        if known
        else None,
    }


def _expanded_level(n: int) -> float:
    """The level at which percentiles of n lie as far out as t_(n−1) with an unbiased variance: Hesterberg (2015)."""
    tail = stats.norm.cdf(np.sqrt(n / (n - 1)) * stats.t.ppf((1 - LEVEL) / 2, n - 1))
    return float(1 - 2 * tail)


def _batch(n: int) -> int:
    return max(1, _BATCH_ELEMENTS // n)


def _by_id(lines: Sequence[Line], split: str) -> dict[str, Line]:
    by_id = {str(line['id']): line for line in lines}
    if len(by_id) != len(lines):
        raise UserError(f'Of the {len(lines)} utterances of {split}, only {len(by_id)} ids differ: make ids unique.')
    return by_id


def _check_same(first: Mapping[str, Line], other: Mapping[str, Line], split: str) -> None:
    unlike = sorted(
        name
        for name in first.keys() | other.keys()
        if name not in first or name not in other or _fixed(first[name]) != _fixed(other[name])
    )
    if unlike:
        raise UserError(
            f'The runs were not evaluated on the same {split}: {len(unlike)} utterances are in one of them only, or '
            f'with another reference or speaker ({", ".join(unlike[:3])}). Evaluate all runs again on one corpus.'
        )


def _fixed(line: Line) -> tuple[str, str]:
    return line['reference'], _speaker(line)


def _speaker(line: Line) -> str:
    return str(line.get('speaker') or '')


def _utterance(line: Line) -> ErrorRates:
    return error_rates([line['reference']], [line['hypothesis']])
