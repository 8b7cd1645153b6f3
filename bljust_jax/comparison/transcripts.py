"""What the arms of a comparison heard in the same utterances, side by side."""

from typing import NamedTuple

from bljust_jax.comparison.reading import Outcome, breakable, main_metric, ranked
from bljust_jax.metrics import ErrorRates, error_rates
from bljust_jax.report_sections import MARKS, Utterance, by_interest, escape, missing, transcript

SAMPLES = 10


class Heard(NamedTuple):
    """One utterance as each arm heard it; `place` says where it stands among all."""

    place: str
    by_arm: dict[str, Utterance]


def transcripts(outcome: Outcome) -> str:
    """Ten utterances: the most improved by the best other arm against the reference, the middle and the worst."""
    reference = str(outcome.results['reference'])
    arm = next((one for one in ranked(outcome.results) if one != reference and _shared(outcome, one)), None)
    if arm is None:
        return missing('No transcripts to compare.', 'They take a finished seed of the reference and of another arm.')
    seed, split = _shared(outcome, arm)[0]
    heard = choose(outcome, arm, seed, split)
    return (
        f'<p class="hint">{len(heard)} utterances of <b>{escape(split)}</b>, seed {seed}, by how many characters more '
        f'or fewer <b>{escape(arm)}</b> gets wrong than the reference <b>{escape(reference)}</b>.</p>'
        f'{MARKS}<div class="samples">{"".join(_card(outcome, one) for one in heard)}</div>'
    )


def choose(outcome: Outcome, arm: str, seed: int, split: str, count: int = SAMPLES) -> list[Heard]:
    """`count` utterances ranked by the errors of the arm minus those of the reference: both ends and the middle."""
    runs = {one: outcome.finished(one).get(seed) for one in ranked(outcome.results)}
    heard = {one: {u.id: u for u in run.hypotheses.get(split, ())} for one, run in runs.items() if run is not None}
    theirs = heard[str(outcome.results['reference'])]
    shared = heard[arm].keys() & theirs.keys()
    more = {name: _errors(heard[arm][name]) - _errors(theirs[name]) for name in shared}
    order = sorted(shared, key=lambda name: (more[name], name))
    ends, last = count * 2 // 5, len(order) - 1
    middle = range((last + 1 - (count - 2 * ends)) // 2, (last + 1 + (count - 2 * ends)) // 2)
    places = [*range(ends), *middle, *range(last + 1 - ends, last + 1)] if last >= count else list(range(last + 1))
    return [
        Heard(
            _place(more[order[place]], middle=ends <= place <= last - ends),
            {one: utterances[order[place]] for one, utterances in heard.items() if order[place] in utterances},
        )
        for place in places
    ]


def _place(more: int, middle: bool) -> str:
    """What an utterance of an arm with so many `more` errors than the reference is called."""
    return 'median' if middle else 'equal' if more == 0 else 'worse' if more > 0 else 'better'


def _shared(outcome: Outcome, arm: str) -> list[tuple[int, str]]:
    """Seeds and splits, dev first, in which the arm and the reference have heard the same utterances."""
    ours, theirs = outcome.finished(arm), outcome.finished(str(outcome.results['reference']))
    return [
        (seed, split)
        for seed in sorted(ours.keys() & theirs.keys())
        for split in reversed(by_interest(ours[seed].hypotheses))
        if {u.id for u in ours[seed].hypotheses[split]} & {u.id for u in theirs[seed].hypotheses.get(split, ())}
    ]


def _card(outcome: Outcome, heard: Heard) -> str:
    first = next(iter(heard.by_arm.values()))
    details = ' · '.join(filter(None, [first.id, first.speaker and f'speaker {first.speaker}']))
    metric = main_metric(outcome.results)
    rows = ''.join(
        f'<tr><th>{breakable(arm)}</th><td>{100 * getattr(_rates(utterance), metric):.0f}%</td>'
        f'<td class="words">{transcript(utterance)}</td></tr>'
        for arm, utterance in heard.by_arm.items()
    )
    return (
        f'<article class="card sample"><header><span>{escape(details)}</span><span class="place">{heard.place}</span>'
        f'</header><p class="said">{escape(first.reference)}</p>'
        f'<table class="heard"><tbody>{rows}</tbody></table></article>'
    )


def _rates(utterance: Utterance) -> ErrorRates:
    return error_rates([utterance.reference], [utterance.hypothesis])


def _errors(utterance: Utterance) -> int:
    return _rates(utterance).character_errors
