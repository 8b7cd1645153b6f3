"""The sections of the report in words and tables. All text that comes from the run is escaped here."""

import dataclasses
import functools
import html
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

from bljust_jax.config import LevelsConfig
from bljust_jax.guards import Trip, read_trips
from bljust_jax.metrics import Aligned, ErrorRates, error_rates, word_alignment
from bljust_jax.report_charts import number
from bljust_jax.run_log import duration

STRATEGIES = {
    'bl_just': 'BL-JUST',
    'tl_sud': 'Trilevel training',
    'supervised': 'Supervised',
    'pretrain_finetune': 'Pre-training, then fine-tuning',
    'joint': 'Joint training (weighted sum)',
    'alternating': 'Alternating steps',
    'pseudo_label': 'Pseudo-labelling',
    'noisy_student': 'Noisy student training',
    'momentum_pseudo_label': 'Momentum pseudo-labelling',
}
SAMPLES = 10
MARKS = (
    '<p class="marks hint"><span><ruby class="sub">heard<rt>said</rt></ruby> substituted</span>'
    '<span><del>said</del> deleted</span><span><ins>heard</ins> inserted</span></p>'
)


class Utterance(NamedTuple):
    """A line of `hypotheses/<split>.jsonl`; speaker and seconds may be unknown."""

    id: str
    reference: str
    hypothesis: str
    speaker: str
    seconds: float | None

    @classmethod
    def parse(cls, line: Mapping[str, Any]) -> Self:
        """Checks that the texts are text: anything else would score as if it had been recognised well."""
        reference, hypothesis = line['reference'], line['hypothesis']
        if not isinstance(reference, str) or not isinstance(hypothesis, str):
            raise TypeError('reference and hypothesis must be text')
        seconds = line.get('seconds')
        seconds = None if seconds is None else float(seconds)
        return cls(str(line['id']), reference, hypothesis, str(line.get('speaker') or ''), seconds)


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run has written so far; what it has not is empty.

    Attributes:
      folder: name of its folder.
      config: `config.json`.
      lines: `metrics.jsonl`.
      summary: `summary.json`.
      hypotheses: utterances of each split, `hypotheses/<split>.jsonl`.
    """

    folder: str
    config: dict[str, Any]
    lines: list[dict[str, Any]]
    summary: dict[str, Any]
    hypotheses: dict[str, list[Utterance]]

    @property
    def strategy(self) -> str:
        return str(self.summary.get('strategy') or self.config.get('strategy', {}).get('name', ''))

    @property
    def corpus(self) -> str:
        return str(self.summary.get('corpus') or self.config.get('data', {}).get('corpus', ''))

    @property
    def levels(self) -> list[str]:
        """Levels with a loss in the log, upper-most first; all that the config has before any is logged."""
        configured = self.config.get('levels', {})
        keys = [key.removeprefix('loss/') for line in self.lines for key in line if key.startswith('loss/')]
        # A stored config is sorted by name.
        nested = [field.name for field in dataclasses.fields(LevelsConfig) if field.name in configured]
        levels = list(dict.fromkeys([*nested, *configured, *keys]))
        return [level for level in levels if level in keys] or [level for level in levels if level in configured]

    @functools.cached_property
    def trips(self) -> dict[Trip, str]:
        """The collapse guards that tripped, with their messages."""
        return read_trips(self.lines)

    @property
    def splits(self) -> dict[str, Mapping[str, Any]]:
        """The final scores of each split, of the summary or (without one) of the hypotheses."""
        if self.summary.get('splits'):
            return self.summary['splits']
        return {split: _rates(utterances).as_dict() for split, utterances in self.hypotheses.items() if utterances}


def escape(value: Any) -> str:
    """Text that is safe between tags and inside quoted attributes."""
    return html.escape(str(value), quote=True)


def missing(what: str, why: str) -> str:
    """The line that says what is left out."""
    return f'<p class="missing"><b>{escape(what)}</b> {escape(why)}</p>'


def title(run: Run) -> str:
    """Plain text, such as `BL-JUST on phone_prompts`."""
    return f'{STRATEGIES.get(run.strategy, run.strategy) or "A run"} on {run.corpus or "an unnamed corpus"}'


def headline(run: Run) -> str:
    """Title, what was trained, and the main numbers large."""
    config = run.config
    facts = [
        f'strategy {run.strategy}' if run.strategy else '',
        f'encoder {config["encoder"]}' if 'encoder' in config else '',
        *(f'{level}: {config.get("levels", {}).get(level, {}).get("objective", "?")}' for level in run.levels),
        f'seed {run.summary.get("seed", config.get("seed"))}' if {'seed'} & {*run.summary, *config} else '',
    ]
    step = max((line['step'] for line in run.lines), default=0)
    if run.summary:
        best = run.summary.get('best_step')
        facts.append(f'{run.summary.get("steps", step):,} steps' + (f', best at {best:,}' if best is not None else ''))
        state = ''
    else:
        state = missing('Not finished.', f'The run has logged {step:,} steps so far; final numbers come at its end.')
    tiles = ''.join(tile(f'{100 * rate:.1f}%', name) for name, rate in (_final(run) if run.summary else _latest(run)))
    return f'<h1>{escape(title(run))}</h1><p class="lead">{escape(" · ".join(filter(None, facts)))}</p>{state}' + (
        f'<div class="tiles">{tiles}</div>' if tiles else ''
    )


def scores(run: Run) -> str:
    """The table of error rates."""
    if not run.splits:
        return missing('No scores yet.', 'Error rates of each split are added when the best checkpoint is evaluated.')
    head = ('Split', 'WER', 'CER', 'Words', 'Substituted', 'Deleted', 'Inserted', 'Characters', 'Utterances')
    keys = ('words', 'substitutions', 'deletions', 'insertions', 'characters', 'utterances')
    rows = (
        f'<tr><th>{escape(split)}</th>'
        + ''.join(f'<td class="rate">{100 * score[rate]:.2f}%</td>' for rate in ('wer', 'cer'))
        + ''.join(f'<td>{escape(_count(score.get(key)))}</td>' for key in keys)
        + '</tr>'
        for split, score in run.splits.items()
    )
    return (
        '<div class="card scroll"><table><thead><tr>'
        + ''.join(f'<th>{name}</th>' for name in head)
        + f'</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def guards(run: Run) -> str:
    """The collapse guards that tripped, and what they advise; one line if there is nothing to tell."""
    heading = '<h2>Guards</h2>'
    if not run.trips:
        watched = run.config.get('guards', {}).get('action', 'off') != 'off'
        said = 'No collapse guard has tripped.' if watched else 'No collapse guard was on.'
        return f'{heading}<p class="hint">{said}</p>'
    cards = (
        f'<article class="card sample"><header><b>{escape(trip.guard.name)}</b>'
        f'<span>{escape(f"level {trip.level} · step {trip.step:,}")}</span></header><p>{escape(message)}</p></article>'
        for trip, message in run.trips.items()
    )
    return f'{heading}<div class="samples">{"".join(cards)}</div>'


def samples(run: Run) -> str:
    """Ten transcripts from best to worst, their errors marked."""
    heading = '<h2>Sample transcripts</h2>'
    split = next((name for name in by_interest(run.hypotheses) if run.hypotheses[name]), None)
    if split is None:
        return heading + missing('No transcripts yet.', 'They are written when the run is evaluated at its end.')
    chosen = choose_samples(run.hypotheses[split])
    total = len(run.hypotheses[split])
    return (
        f'{heading}<p class="hint">{len(chosen)} of the {total:,} utterances of <b>{escape(split)}</b>, '
        'ranked by character error rate: the best, the worst, and even steps between.</p>'
        f'{MARKS}<div class="samples">{"".join(_sample(*sample) for sample in chosen)}</div>'
    )


def choose_samples(utterances: Sequence[Utterance], count: int = SAMPLES) -> list[tuple[str, Utterance, ErrorRates]]:
    """The best, the worst and evenly spaced quantiles between them by character error rate, each with its place."""
    scored = sorted(
        ((_rates([utterance]), utterance) for utterance in utterances),
        key=lambda pair: (pair[0].cer, pair[1].id, pair[1].reference),
    )
    last = len(scored) - 1
    places = [round(index * last / max(count - 1, 1)) for index in range(count)] if last >= count else range(last + 1)
    return [(_place(place, last), scored[place][1], scored[place][0]) for place in places]


def budget(run: Run) -> str:
    """What the run used."""
    heading = '<h2>Budget</h2>'
    spent = dict(run.summary.get('budget', {}))
    if not run.summary:
        return heading + missing('No budget yet.', 'Hours of audio, wall time and parameters are added at the end.')
    facts = {
        'Steps': _count(run.summary.get('steps')),
        'Labelled audio seen': _unit(spent.pop('labelled_hours', None), 'h'),
        'Unlabelled audio seen': _unit(spent.pop('unlabelled_hours', None), 'h'),
        'Wall time': duration(spent['wall_seconds']) if spent.get('wall_seconds') is not None else None,
        'Speed': _unit(spent.pop('audio_hours_per_hour', None), 'h of audio per h'),
        'Parameters': _count(run.summary.get('parameters')),
        'Devices': run.summary.get('devices'),
    }
    spent.pop('wall_seconds', None)
    facts |= {name.replace('_', ' ').capitalize(): _plain(value) for name, value in spent.items()}
    versions = run.summary.get('versions', {})
    rows = _facts((name, value) for name, value in facts.items() if value is not None)
    return (
        f'{heading}<div class="card">{rows}'
        + (f'<details><summary>Versions</summary>{_facts(versions.items())}</details>' if versions else '')
        + '</div>'
    )


def configuration(run: Run) -> str:
    """The config, folded."""
    if not run.config:
        return '<h2>Config</h2>' + missing('No config.', 'The folder of the run has no config.json.')
    fields = list(_flatten(run.config))
    # Fields of the top level first, then section by section.
    sections = itertools.groupby(sorted(fields, key=lambda field: '.' in field[0]), key=_section)
    rows = ''.join(
        (f'<tr><th colspan="2">{escape(section)}</th></tr>' if section else '')
        + ''.join(f'<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>' for name, value in group)
        for section, group in sections
    )
    return (
        f'<h2>Config</h2><details class="card config"><summary>{len(fields)} fields</summary>'
        f'<table><tbody>{rows}</tbody></table></details>'
    )


def _final(run: Run) -> list[tuple[str, float]]:
    splits = by_interest(run.splits)[:2]
    return [(f'{rate.upper()}, {split}', run.splits[split][rate]) for split in splits for rate in ('wer', 'cer')]


def _latest(run: Run) -> list[tuple[str, float]]:
    """The error rates that an unfinished run logged last."""
    rates = {
        key: (line['step'], value)
        for line in run.lines
        for key, value in line.items()
        if key.startswith(('wer/', 'cer/')) and value is not None
    }
    return [
        (f'{key[:3].upper()}, {key[4:]}, step {step:,}', value)
        for key, (step, value) in sorted(rates.items(), reverse=True)
    ]


def by_interest(splits: Iterable[str]) -> list[str]:
    """Test splits first, development splits last."""
    return sorted(splits, key=lambda split: (not split.startswith('test'), split.startswith(('dev', 'valid')), split))


def _rates(utterances: Sequence[Utterance]) -> ErrorRates:
    return error_rates([one.reference for one in utterances], [one.hypothesis for one in utterances])


def _place(place: int, last: int) -> str:
    if last == 0:
        return 'the only one'
    return {0: 'best', last: 'worst'}.get(place, f'percentile {100 * place / last:.0f}')


def transcript(utterance: Utterance) -> str:
    """What was heard, its word errors marked against what was said."""
    words = ' '.join(_mark(aligned) for aligned in word_alignment(utterance.reference, utterance.hypothesis))
    return words or '(silence, and nothing heard)'


def _sample(place: str, utterance: Utterance, rates: ErrorRates) -> str:
    details = [utterance.id, utterance.speaker and f'speaker {utterance.speaker}']
    if utterance.seconds is not None:
        details.append(f'{utterance.seconds:.1f} s')
    return (
        f'<article class="card sample"><header><b>CER {100 * rates.cer:.0f}%</b><b>WER {100 * rates.wer:.0f}%</b>'
        f'<span>{escape(" · ".join(filter(None, details)))}</span><span class="place">{escape(place)}</span></header>'
        f'<p class="words">{transcript(utterance)}</p></article>'
    )


def _mark(aligned: Aligned) -> str:
    if aligned.op == 'substitute':
        pairs = zip(aligned.reference, aligned.hypothesis, strict=True)
        return ' '.join(f'<ruby class="sub">{escape(heard)}<rt>{escape(said)}</rt></ruby>' for said, heard in pairs)
    if aligned.op == 'delete':
        return f'<del>{escape(" ".join(aligned.reference))}</del>'
    words = escape(' '.join(aligned.hypothesis))
    return f'<ins>{words}</ins>' if aligned.op == 'insert' else words


def tile(value: str, name: str) -> str:
    """A main number, large, with its name below."""
    return f'<div class="card tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'


def _facts(facts: Iterable[tuple[str, Any]]) -> str:
    rows = (f'<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>' for name, value in facts)
    return f'<dl class="facts">{"".join(rows)}</dl>'


def _count(value: int | None) -> str | None:
    return None if value is None else f'{value:,}'


def _unit(value: float | None, unit: str) -> str | None:
    return None if value is None else f'{number(value)} {unit}'


def _plain(value: Any) -> str:
    return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _flatten(values: Mapping[str, Any], prefix: str = '') -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f'{prefix}{name}.')
        else:
            yield prefix + name, value


def _section(field: tuple[str, Any]) -> str:
    return field[0].rpartition('.')[0]
