"""The report of a realistic run, of one that has just begun, and of one whose texts try to break out."""

import html.parser
import json
import math
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bljust_jax import report_charts, report_curves, report_sections, strategies
from bljust_jax.config import Config, LevelConfig, LevelsConfig, to_config_dict
from bljust_jax.errors import UserError
from bljust_jax.metrics import error_rates
from bljust_jax.report import load_run, write_report
from bljust_jax.report_sections import Utterance, choose_samples

SENTENCES = (
    'please enter your password followed by the pound key',
    'the number you have dialed is not in service',
    'to return a call press one to forward this message press two',
    'your call is important to us please hold the line',
    'there are no messages in your mailbox',
    'the conference is now being recorded',
    'you are about to leave the queue <b>& goodbye</b>',
)
PHASES = [*[('explore', 200), ('joint', 500)] * 4, ('finetune', 1200)]
STEPS = sum(steps for _, steps in PHASES)


def fake_run(workdir: Path, *, finished: bool = True) -> Path:
    """Writes the folder of a BL-JUST run: 400 lines of log, 20 evaluations, 120 hypotheses a split."""
    chance = random.Random(0)
    (workdir / 'hypotheses').mkdir(parents=True)
    config = Config(levels=LevelsConfig(unsup=LevelConfig('best_rq', gamma='exponential')))
    (workdir / 'config.json').write_text(to_config_dict(config).to_json())
    (workdir / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in _log(chance)))
    if not finished:
        return workdir
    splits = {split: _hypotheses(chance) for split in ('dev', 'test')}
    for split, lines in splits.items():
        (workdir / 'hypotheses' / f'{split}.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    scores = {
        split: error_rates([line['reference'] for line in lines], [line['hypothesis'] for line in lines]).as_dict()
        for split, lines in splits.items()
    }
    summary = {
        'strategy': 'bl_just',
        'corpus': 'phone_prompts',
        'seed': 0,
        'steps': STEPS,
        'best_step': 3800,
        'splits': scores,
        'budget': {
            'labelled_hours': 52.9,
            'unlabelled_hours': 46.1,
            'wall_seconds': 4012.0,
            'audio_hours_per_hour': 88.7,
        },
        'parameters': 3_412_544,
        'versions': {'bljust_jax': '0.1.0', 'jax': '0.10.2', 'flax': '0.12.8'},
    }
    (workdir / 'summary.json').write_text(json.dumps(summary))
    return workdir


def _log(chance: random.Random) -> list[dict]:
    lines, step, labelled, unlabelled = [], 0, 0, 0
    for phase, steps in PHASES:
        for offset in range(10, steps + 1, 10):
            now = step + offset
            line: dict = {'step': now, 'phase': phase}
            if phase != 'explore':
                labelled += 10
                line['loss/sup'] = 0.25 + 3.0 * math.exp(-labelled / 500) * chance.uniform(0.85, 1.15)
            if phase != 'finetune':
                unlabelled += 10
                fall = 1 - math.exp(-unlabelled / 900)
                line['loss/unsup'] = 6.9 - 3.2 * fall + chance.gauss(0, 0.12) + 0.2 * (phase == 'joint')
                line['accuracy/unsup'] = 0.004 + 0.28 * fall * chance.uniform(0.9, 1.1)
                line['chance/unsup'] = 0.02
            if phase == 'joint':
                line['gamma/unsup'] = 0.01 * 100 ** (labelled / 2000)
                line['grad_cosine/unsup'] = chance.gauss(0.15, 0.12)
                line['grad_cosine_block/unsup/block_0'] = chance.gauss(0.2, 0.12)
                line['value_gap/unsup'] = abs(chance.gauss(0.1, 0.1))
                share = line['gamma/unsup'] / (1 + line['gamma/unsup'])
                line |= {'update_share/sup': 1 - share, 'update_share/unsup': share, 'stationarity': 1 + share}
            line |= {'wall_seconds': 2.0 * now, 'train_seconds': 1.0 * now, 'audio_seconds': 60.0 * now}
            line['grad_norm/encoder'] = math.exp(chance.gauss(0, 0.3))
            line['learning_rate/encoder'] = 2e-3 * min(offset / 100, 1.0) * (0.5 + 0.5 * math.cos(offset / steps * 3))
            if now % 200 == 0:
                rates = {'wer/dev': 0.12 + math.exp(-now / 900), 'cer/dev': 0.04 + math.exp(-now / 700)}
                lines.append({'step': now} | rates)
            lines.append(line)
        step += steps
    return lines


def _hypotheses(chance: random.Random) -> list[dict]:
    return [
        {
            'id': f'prompt_{index:03d}',
            'reference': (sentence := chance.choice(SENTENCES)),
            'hypothesis': _garble(sentence, chance, rate=index / 300),
            'speaker': chance.choice(('allison', 'june')),
            'seconds': len(sentence) / 14,
        }
        for index in range(120)
    ]


def _garble(sentence: str, chance: random.Random, rate: float) -> str:
    words = []
    for word in sentence.split():
        fate = chance.random() / max(rate, 1e-9)
        if fate >= 0.3:
            words += [f'{word[:-1]}e', 'the'] if fate < 0.5 else [f's{word[1:]}'] if fate < 1 else [word]
    return ' '.join(words)


class Page(html.parser.HTMLParser):
    """Checks that tags close in the order they opened, and collects what the tests ask about."""

    VOID = frozenset({'meta', 'br'})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or '') for name, value in attrs]
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or '') for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return ''.join(self.words)

    @property
    def charts(self) -> list[str]:
        return [value.split(':')[0] for name, value in self.attributes if name == 'aria-label']


@pytest.fixture(scope='module')
def full(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(fake_run(tmp_path_factory.mktemp('runs') / 'full')).read_text()


def render(workdir: Path) -> Page:
    return Page(write_report(workdir).read_text())


def test_fetches_nothing(full: str) -> None:
    page = Page(full)
    assert not {'script', 'link', 'img', 'iframe', 'object', 'base'} & set(page.tags)
    assert not [value for name, value in page.attributes if name in {'src', 'href', 'srcset', 'style'}]
    assert not re.search(r'url\(|@import|https?://', full)


def test_all_curves_are_drawn(full: str) -> None:
    page = Page(full)
    assert page.charts == [
        'Error rates on dev',
        'Loss, sup',
        'Loss, unsup',
        'Penalty γ, unsup',
        'Value gap, unsup',
        'Gradient cosine, unsup',
        'Share of the update',
        'Stationarity',
        'Accuracy, unsup',
        'Learning rate',
        'grad_norm/encoder',
        'grad_cosine_block/unsup/block_0',
    ]
    assert 'missing' not in [value for name, value in page.attributes if name == 'class']
    assert 'nan' not in ' '.join(value for name, value in page.attributes if name in {'d', 'x', 'cx'})


def test_numbers_of_the_summary_are_shown(full: str, tmp_path: Path) -> None:
    summary = json.loads((fake_run(tmp_path / 'run') / 'summary.json').read_text())
    text = Page(full).text
    for score in summary['splits'].values():
        assert f'{100 * score["wer"]:.2f}%' in text
        assert f'{score["words"]:,}' in text and f'{score["characters"]:,}' in text
    for expected in ('BL-JUST on phone_prompts', 'best at 3,800', '3,412,544', '52.9 h', '1h06m', 'data.batch_seconds'):
        assert expected in text


def test_is_deterministic(full: str, tmp_path: Path) -> None:
    assert write_report(fake_run(tmp_path / 'full')).read_text() == full


def test_run_that_has_just_begun(tmp_path: Path) -> None:
    (tmp_path / 'config.json').write_text(to_config_dict(Config()).to_json())
    text = render(tmp_path).text
    for line in ('Not finished.', 'No scores yet.', 'No curves yet.', 'No transcripts yet.', 'No budget yet.'):
        assert line in text


def test_run_that_goes_on(tmp_path: Path) -> None:
    page = render(fake_run(tmp_path / 'run', finished=False))
    assert 'logged 4,000 steps so far' in page.text
    assert 'WER, dev, step 4,000' in page.text
    assert 'Loss, sup' in page.charts


def test_supervised_run_says_what_it_has_not(tmp_path: Path) -> None:
    lines = [{'step': step, 'phase': 'sup', 'loss/sup': 1.0} for step in range(1, 5)]
    (tmp_path / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    page = render(tmp_path)
    assert page.charts == ['Loss, sup']
    for line in ('No error rates.', 'No penalty.', 'No accuracy.', 'No config.'):
        assert line in page.text


def test_values_that_are_not_finite_leave_a_hole(tmp_path: Path) -> None:
    values = [1.0, None, 3.0, None]
    lines = [{'step': step, 'loss/sup': value, 'loss/unsup': None} for step, value in enumerate(values)]
    (tmp_path / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    assert render(tmp_path).charts == ['Loss, sup']


def test_three_levels_have_their_own_charts(tmp_path: Path) -> None:
    line = {'phase': 'joint', 'loss/sup': 1.0, 'loss/unsup': 2.0, 'loss/distill': 3.0}
    line |= {'gamma/unsup': 180.0, 'gamma/distill': 0.005, 'value_gap/unsup': 0.1, 'value_gap/distill': -0.2}
    levels = {level: {'objective': level} for level in ('distill', 'sup', 'unsup')}
    (tmp_path / 'config.json').write_text(json.dumps({'levels': levels}))  # sorted by name, as runs store it
    (tmp_path / 'metrics.jsonl').write_text(''.join(json.dumps({'step': step} | line) + '\n' for step in (1, 2)))
    assert {'Value gap, unsup', 'Value gap, distill', 'Penalty γ, distill'} <= set(render(tmp_path).charts)
    assert load_run(tmp_path).levels == ['sup', 'unsup', 'distill']


def test_guards_that_tripped_are_listed_and_marked(full: str, tmp_path: Path) -> None:
    assert 'No collapse guard has tripped.' in Page(full).text and 'guard:' not in full
    run = fake_run(tmp_path / 'run')
    with (run / 'metrics.jsonl').open('a') as log:
        log.write(json.dumps({'step': 1200, 'guard/accuracy/unsup': 'No better than <chance>. Raise the rate.'}) + '\n')
    page = render(run)
    assert 'No collapse guard' not in page.text
    assert 'level unsup · step 1,200No better than <chance>. Raise the rate.' in page.text
    charts = (run / 'report.html').read_text().split('<figure')
    marked = [chart.partition('<h3>')[2].partition('</h3>')[0] for chart in charts if 'guard: accuracy' in chart]
    assert marked == ['Loss, unsup', 'Accuracy, unsup']
    assert page.charts == Page(full).charts


def test_text_of_the_run_is_escaped(tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script>&amp;'
    (tmp_path / 'hypotheses').mkdir()
    utterance = {'id': evil, 'reference': f'a {evil}', 'hypothesis': f'{evil} {evil}', 'speaker': evil, 'seconds': 1}
    (tmp_path / 'hypotheses' / 'test<b>.jsonl').write_text(json.dumps(utterance) + '\n')
    lines = [{'step': step, 'phase': evil, f'loss/{evil}': step, evil: 1.0, f'wer/{evil}': 0.5} for step in (1, 1000)]
    lines.append({'step': 1000, f'guard/blank/{evil}': evil})
    (tmp_path / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    config = {'strategy': {'name': evil}, 'encoder': evil, 'levels': {evil: {'objective': evil}}, evil: evil}
    (tmp_path / 'config.json').write_text(json.dumps(config))
    summary = {'corpus': evil, 'seed': evil, 'versions': {evil: evil}, 'budget': {evil: evil}, 'devices': evil}
    (tmp_path / 'summary.json').write_text(json.dumps(summary))
    page = render(tmp_path)
    assert 'script' not in page.tags and 'b' in page.tags
    assert page.text.count(evil) > 12


@pytest.mark.parametrize(
    ('reference', 'hypothesis', 'marked'),
    [
        ('the cat sat', 'the bat sat', 'the <ruby class="sub">bat<rt>cat</rt></ruby> sat'),
        ('the big cat', 'the cat', 'the <del>big</del> cat'),
        ('the cat', 'the cat sat', 'the cat <ins>sat</ins>'),
        ('', '', '(silence, and nothing heard)'),
    ],
)
def test_errors_are_marked(tmp_path: Path, reference: str, hypothesis: str, marked: str) -> None:
    (tmp_path / 'hypotheses').mkdir()
    (tmp_path / 'config.json').write_text('{}')
    utterance = {'id': 'a', 'reference': reference, 'hypothesis': hypothesis}
    (tmp_path / 'hypotheses' / 'test.jsonl').write_text(json.dumps(utterance) + '\n')
    assert f'<p class="words">{marked}</p>' in write_report(tmp_path).read_text()


def test_samples_run_from_best_to_worst_whatever_the_order() -> None:
    chance = random.Random(1)
    utterances = [Utterance(**line) for line in _hypotheses(chance)]
    chosen = choose_samples(utterances)
    rates = [rates.cer for _, _, rates in chosen]
    assert len(chosen) == len({utterance.id for _, utterance, _ in chosen}) == 10
    assert rates == sorted(rates) and rates[0] == 0.0 and rates[-1] > 0.1
    assert [place for place, _, _ in chosen][::9] == ['best', 'worst']
    assert choose_samples(chance.sample(utterances, len(utterances))) == chosen
    assert len(choose_samples(utterances[:3])) == 3


def test_no_run_and_damaged_files_are_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='no run in'):
        write_report(tmp_path)
    (tmp_path / 'config.json').write_text('{')
    with pytest.raises(UserError, match=r'config\.json is damaged'):
        write_report(tmp_path)
    (tmp_path / 'config.json').write_text('{}')
    (tmp_path / 'hypotheses').mkdir()
    (tmp_path / 'hypotheses' / 'test.jsonl').write_text('{"id": "a", "reference": 1, "hypothesis": ""}\n')
    with pytest.raises(UserError, match='Line 1 of'):
        write_report(tmp_path)


def test_phases_are_the_stretches_between_lines() -> None:
    names = ['explore', 'explore', 'joint', 'explore', 'finetune']
    lines = [{'step': 10 * (index + 1), 'phase': name} for index, name in enumerate(names)]
    bands = [tuple(band) for band in report_curves.phases([*lines, {'step': 50, 'wer/dev': 0.1}])]
    assert bands == [(0, 20, 'explore', 0), (20, 30, 'joint', 1), (30, 40, 'explore', 0), (40, 50, 'finetune', 2)]


def test_curves_break_where_their_level_pauses() -> None:
    lines = [
        {'step': 1, 'loss/unsup': 2.0},
        {'step': 2, 'loss/sup': 1.0},
        {'step': 2, 'wer/dev': 0.5},
        {'step': 3, 'loss/unsup': 1.0},
        {'step': 4, 'loss/unsup': 1.5},
    ]
    assert report_curves.curve(lines, 'loss/unsup') == [(1, 2.0), (2, None), (3, 1.0), (4, 1.5)]
    assert report_curves.curve(lines, 'wer/test') == []


@pytest.mark.parametrize(
    ('value', 'text'),
    [(0, '0'), (1, '1'), (0.40, '0.4'), (1234.5, '1,234'), (0.0015, '1.5e-3'), (-0.25, '-0.25'), (3e7, '3e7')],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert report_charts.number(value) == text


@pytest.mark.parametrize(('low', 'high'), [(0.0, 1.0), (-0.3, 0.7), (0.0, 3000.0), (1e-5, 2e-3), (5.0, 5.001)])
def test_ticks_are_few_and_inside(low: float, high: float) -> None:
    ticks = report_charts.nice_ticks(low, high, 5)
    assert 3 <= len(ticks) <= 8
    assert low - 1e-9 <= ticks[0] and ticks[-1] <= high + 1e-9


def test_moving_average_keeps_a_constant_and_the_length() -> None:
    points: list[report_charts.Point] = [(step, 2.0) for step in range(7)]
    assert report_charts.moving_average(points, 5) == points


def test_wide_ranges_have_a_logarithmic_axis() -> None:
    wide = [report_charts.Series('', [(0, 1e-3), (1, 1e3)])]
    chart = report_charts.line_chart('Loss', wide, [], (0, 1))
    assert [tick for tick in ('1e-3', '0.1', '10', '1,000') if f'>{tick}</text>' in chart] == [
        '1e-3',
        '0.1',
        '10',
        '1,000',
    ]


def test_command_line(tmp_path: Path) -> None:
    run = fake_run(tmp_path / 'run', finished=False)
    command = [sys.executable, '-m', 'bljust_jax.report']
    done = subprocess.run([*command, f'--workdir={run}'], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and str(run / 'report.html') in done.stderr
    mistakes = {
        'There is no run in': [f'--workdir={tmp_path}'],
        "Unexpected argument 'stray'": [f'--workdir={run}', 'stray'],
        'Missing: --workdir': [],
    }
    for sentence, arguments in mistakes.items():
        failed = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        assert failed.returncode == 2 and failed.stderr.startswith(f'error: {sentence}')


def test_every_strategy_has_a_name() -> None:
    assert report_sections.STRATEGIES.keys() == strategies.STRATEGIES.keys()


def test_load_run_reads_all_splits(tmp_path: Path) -> None:
    run = load_run(fake_run(tmp_path / 'run'))
    assert list(run.hypotheses) == ['dev', 'test'] and run.levels == ['sup', 'unsup']
    assert run.splits['test']['utterances'] == 120
