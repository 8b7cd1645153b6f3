"""The report of made-up comparisons: complete ones, such with holes, and one whose texts try to break out."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bljust_jax.comparison import figures, reading, tables, transcripts
from bljust_jax.comparison.report import write_comparison_report
from bljust_jax.comparison.tables import markdown, table
from bljust_jax.errors import UserError
from bljust_jax.metrics import error_rates
from bljust_jax.report import template, write_report
from tests.comparison.made_up import make_comparison, save
from tests.test_report import Page as _Page

ARMS = (
    'supervised',
    'pretrain_finetune',
    'joint',
    'alternating',
    'pseudo_label',
    'noisy_student',
    'mpl',
    'tl',
    'bl_just',
)


class Page(_Page):
    VOID = _Page.VOID | {'wbr'}


def render(workdir: Path) -> Page:
    return Page(write_comparison_report(workdir).read_text())


@pytest.fixture(scope='module')
def nine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp('comparison')
    make_comparison(workdir, ARMS)
    return workdir


def test_fetches_nothing(nine: Path) -> None:
    text = write_comparison_report(nine).read_text()
    page = Page(text)
    assert not {'script', 'link', 'img', 'iframe', 'object', 'base'} & set(page.tags)
    assert not [value for name, value in page.attributes if name in {'src', 'href', 'srcset', 'style'}]
    assert not re.search(r'url\(|@import|https?://', text)
    assert 'nan' not in ' '.join(value for name, value in page.attributes if name in {'d', 'x', 'cx', 'y', 'cy', 'r'})


def test_figures_hold_every_arm(nine: Path) -> None:
    page = render(nine)
    labels = [value.partition(': ')[::2] for name, value in page.attributes if name == 'aria-label']
    curves = [names for title, names in labels if title in ('Loss, sup', 'Loss, unsup')]
    curves += [names for title, names in labels if title.endswith(' on dev') and ARMS[0] in names]
    assert len(curves) == 5 and all(set(names.split(', ')) == set(ARMS) for names in curves)
    intervals = [names for title, names in labels if ' on ' in title and ARMS[0] not in names]
    assert len(intervals) == 6 and all(set(names.split(', ')) == set(ARMS[1:]) for names in intervals)
    assert {title for title, names in labels if names.startswith('against')} == set(ARMS[1:])
    thick = re.findall(r'<path class="line (s\d(?: d\d)?)" d="M[^"]+L', write_comparison_report(nine).read_text())
    assert set(thick) >= {figures._series(arm, i, []).style for i, arm in enumerate(ARMS)}


def test_styles_of_27_arms_differ() -> None:
    css = template('charts.css')
    assert all(css.count(f'--s{color}: #') == 2 and f'.s{color} {{' in css for color in range(figures.COLORS))
    assert all(f'.d{dash} {{' in css for dash in range(1, figures.DASHES))
    assert len({figures._series('', index, []).style for index in range(27)}) == 27


def test_verdict_names_the_winner_and_what_speaks_against_it(nine: Path, tmp_path: Path) -> None:
    said = render(nine).text
    assert 'bl_just has the lowest CER on test' in said
    assert 'The intervals over utterances, speakers and seeds exclude zero.' in said
    results = make_comparison(tmp_path, ('supervised', 'joint'))
    said = render(tmp_path).text
    assert 'Not settled: the interval over utterances includes zero; the interval over speakers' in said
    assert 'Holm p = 0.400.' in said
    results['reference'] = 'joint'
    worse = {'difference': 0.03, 'relative': 0.1, 'interval': [0.01, 0.05], 'speaker_interval': [0.01, 0.05]}
    for row in results['rows']:
        row['against'] = None if row['arm'] == 'joint' else worse | {'p': 0.001, 'p_holm': 0.001}
    save(tmp_path, results)
    said = render(tmp_path).text
    assert 'joint has the lowest' in said and 'supervised against the reference joint: +10.0%' in said


def test_seeds_that_differ_and_rates_that_disagree_are_told(tmp_path: Path) -> None:
    results = make_comparison(tmp_path, ('supervised', 'bl_just'))
    row = reading.main_row(results, 'bl_just') or {}
    row['against'] |= {'interval': [-0.02, -0.01], 'speaker_interval': None, 'p_holm': 0.001}
    assert row['against']['seed_interval'][1] < 0 and reading.doubts(row) == []
    row['against']['seed_interval'] = [-0.05, 0.018]
    assert reading.doubts(row) == ['the interval over seeds includes zero']
    other = reading.find_row(results, 'bl_just', 'test', 'wer') or {}
    other['against'] |= {'difference': 0.05, 'relative': 0.1, 'interval': [0.01, 0.09]}
    assert reading.contradictions(results, row) == [other]
    save(tmp_path, results)
    said = render(tmp_path).text
    assert 'WER on test says otherwise: +5.00 points.' in said and 'Not settled: the interval over seeds' in said


def test_tables_mark_best_and_clear_differences(nine: Path) -> None:
    results = reading.load_outcome(nine).results
    cer, wer = (part.splitlines() for part in table(results, 'test').split('\n\n'))
    for lines in (cer, wer):
        assert len(lines) == 2 + len(ARMS) and len({len(line) for line in lines}) == 1
        assert [line.split()[1] for line in lines if 'reference' in line] == ['supervised']
        assert [line.split()[1] for line in lines if '**' in line] == ['bl_just']
    head, best = ([field.strip() for field in line.split('|')[1:-1]] for line in (cer[0], cer[2]))
    assert dict(zip(head[6:], best[6:], strict=True)) == {
        'utterances': '[−13.1, −9.1]', 'speakers': '[−14.6, −8.1]', 'seeds': '[−12.6, −9.7]', 'Holm p': '0.030',
        'Steps': '1,000', 'Labelled h': '12.5', 'Unlabelled h': '31', 'PFLOPs': '2.5', 'Wall time': '1h06m',
    }  # fmt: skip
    assert best[:6] == ['bl_just', '2', '**28.86 ± 0.60**', '25.9 – 31.9', '24.9 – 32.9', '−11.14 (−27.9%)\\*']
    assert 'WER %' in wer[0]
    html = tables.score_table(results, 'test')
    assert html.count('class="rate best"') == 2 and html.count('reference') == 2
    for row in (row for row in results['rows'] if row['split'] == 'test' and row['metric'] == 'cer' and row['against']):
        clear = reading.excludes_zero(row['against']['interval'])
        drawn = html.partition(f'<tr><th>{row["arm"].replace("_", "_<wbr>")}</th>')[2].partition('</tr>')[0]
        assert ('▼' in drawn.split('</td>')[1] or '▽' in drawn.split('</td>')[1]) == clear


def test_dev_is_marked_and_comes_last(nine: Path, tmp_path: Path) -> None:
    said = markdown(reading.load_outcome(nine).results)
    assert re.findall('^## (.*)$', said, re.MULTILINE) == ['test', 'test_unseen', 'dev (checkpoints were chosen on it)']
    page = render(nine).text
    assert 'Results on dev (checkpoints were chosen on it)' in page
    assert all(note in said and note in page for note in reading.NOTES)
    results = make_comparison(tmp_path, ('supervised', 'bl_just'))
    assert reading.heading(results | {'select': 'wer/test'}, 'dev') == 'dev'


def test_a_reference_without_errors_or_intervals(tmp_path: Path) -> None:
    results = make_comparison(tmp_path, ('supervised', 'joint', 'bl_just'))
    for row in results['rows']:
        if row['arm'] == 'supervised':
            row |= {'mean': 0.0, 'std': 0.0}
        else:
            row['against']['relative'] = None
        if row['split'] == 'test_unseen':
            row |= {'interval': None, 'speaker_interval': None}
            if row['against']:
                row['against'] |= {'interval': None, 'speaker_interval': None}
    save(tmp_path, results)
    said = render(tmp_path).text
    assert 'No differences yet.' in said and '(–)' in said and '– relative' in said
    assert '(–)' in table(results, 'test') and '| – |' in re.sub(' +', ' ', table(results, 'test_unseen'))
    results['rows'] = [row for row in results['rows'] if row['split'] == 'test_unseen']
    save(tmp_path, results)
    assert 'one utterance has no interval' in render(tmp_path).text


def test_texts_are_inert(tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script>&amp;\'$title'
    arms = [f'arm_{name}{evil}' for name in ('one', 'two', 'three', 'four')]
    results = make_comparison(tmp_path, arms, text=evil)
    results['cells'][-1] |= {'state': 'failed', 'error': evil}
    results |= {'match': evil, 'seeds': [evil], 'select': f'cer/{evil}'}
    save(tmp_path, results)
    page = render(tmp_path)
    assert 'script' not in page.tags and {'wbr', 'figure', 'circle'} <= set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith('on')]
    assert page.text.count(evil) > 20


def test_nothing_finished_yet(tmp_path: Path) -> None:
    results = make_comparison(tmp_path, ('supervised', 'bl_just'))
    for cell in results['cells']:
        cell |= {'state': 'unfinished', 'budget': None, 'dev': None, 'test': None}
    save(tmp_path, results | {'rows': []})
    page = render(tmp_path)
    for line in ('No cell has finished yet.', 'No differences yet.', 'No speakers.', 'No transcripts to compare.'):
        assert line in page.text
    assert '4 cells: 4 unfinished.' in page.text and 'Loss, sup' in page.charts
    for cell in results['cells']:
        cell['run'] = 'runs/nowhere'
    save(tmp_path, results | {'rows': []})
    assert 'No curves yet.' in render(tmp_path).text


def test_failed_cells_and_their_reasons(tmp_path: Path) -> None:
    results = make_comparison(tmp_path, ('supervised', 'bl_just'))
    results['cells'][-1] |= {'state': 'failed', 'error': 'The loss is not finite at step 310.'}
    save(tmp_path, results)
    said = render(tmp_path).text
    for line in ('3 finished · 1 failed', 'bl_just1failedThe loss is not finite at step 310.', '1 of 2 seeds finished'):
        assert line in said


def test_one_seed_and_no_speakers(tmp_path: Path) -> None:
    make_comparison(tmp_path, ('supervised', 'bl_just'), seeds=(3,), speakers=0)
    said = render(tmp_path).text
    for line in ('one seed is no evidence of what another would give', 'No speakers.', 'No intervals over speakers.'):
        assert line in said
    assert '40.00 ±' not in said


@pytest.mark.parametrize(
    ('values', 'even'), [([0.01, 0.1, 1, 10], True), ([1, 2, 4, 8], False), (['cpc', 'best_rq'], True)]
)
def test_sweep_is_drawn_over_its_values(tmp_path: Path, values: list, even: bool) -> None:
    arms = [f'bl_just gamma_max={value}' for value in values]
    sweep = {'field': 'levels.unsup.gamma_max', 'values': values}
    make_comparison(tmp_path, arms, sweep=sweep)
    assert 'CER on dev over levels.unsup.gamma_max' in render(tmp_path).charts
    cer, _ = figures.sweep_figures(reading.load_outcome(tmp_path).results)
    places = [float(place) for place in re.findall(r'<circle class="disc s0" cx="([\d.]+)"', cer)]
    assert len(places) == 2 * len(values) and cer.count('class="line') == 1
    gaps = np.diff(sorted(set(places)))
    assert bool(np.allclose(gaps, gaps[0], atol=0.2)) == even
    assert 'aria-label="CER on dev over levels.unsup.gamma_max: bl_just"' in cer


def test_a_sweep_is_drawn_on_the_split_that_chooses(tmp_path: Path) -> None:
    arms = [f'bl_just gamma_max={value}' for value in (0.1, 1.0)]
    results = make_comparison(tmp_path, arms, sweep={'field': 'levels.unsup.gamma_max', 'values': [0.1, 1.0]})
    for cell in results['cells']:
        cell['valid'] = cell.pop('dev')
    cer, _ = figures.sweep_figures(results | {'select': 'cer/valid'})
    assert 'aria-label="CER on valid over levels.unsup.gamma_max: bl_just"' in cer
    assert figures.sweep_figures(results) == []


def test_mean_curve_is_over_shared_steps() -> None:
    curves = [{1: (1, 2.0), 2: (2, 4.0), 3: (3, 6.0)}, {1: (3, 4.0), 2: (4, 8.0)}]
    assert figures.mean_curve(curves) == [(2, 3.0), (3, 6.0)]
    assert figures.mean_curve([]) == []


def test_labelled_hours_grow_with_supervised_steps_alone(nine: Path) -> None:
    run = next(iter(reading.load_outcome(nine).runs.values()))
    lines = [{'step': 10, 'phase': 'explore', 'loss/unsup': 1.0}, {'step': 20, 'phase': 'joint', 'loss/sup': 1.0}]
    lines += [{'step': 20, 'cer/dev': 0.5}, {'step': 40, 'phase': 'joint', 'loss/sup': 1.0}]
    run = type(run)('', {}, lines, {}, {})
    points = {step: (step, 0.5) for step in (10, 20, 30, 40)}
    assert figures._over_hours(points, run, 6.0) == {10: (0, 0.5), 20: (2, 0.5), 30: (4, 0.5), 40: (6, 0.5)}


def test_speakers_rates_are_over_their_utterances_and_seeds(nine: Path) -> None:
    outcome = reading.load_outcome(nine)
    split, rates = figures.speaker_rates(outcome, 'bl_just') or ('', {})
    assert split == 'test' and len(rates) == 8
    for speaker, both in rates.items():
        for arm, rate in zip(('bl_just', 'supervised'), both, strict=True):
            heard = [u for seed in (0, 1) for u in outcome.runs[arm, seed].hypotheses['test'] if u.speaker == speaker]
            assert rate == error_rates([u.reference for u in heard], [u.hypothesis for u in heard])


@pytest.mark.parametrize(
    ('more', 'middle', 'place'), [(-1, False, 'better'), (2, False, 'worse'), (0, False, 'equal'), (3, True, 'median')]
)
def test_an_utterance_without_a_difference_is_neither_better_nor_worse(more: int, middle: bool, place: str) -> None:
    assert transcripts._place(more, middle) == place


def test_an_arm_without_a_test_is_not_taken_for_the_reference(nine: Path) -> None:
    results = reading.load_outcome(nine).results
    rows = [{**row, 'against': None} for row in results['rows'] if row['arm'] != results['reference']]
    text = tables.table({**results, 'rows': rows}, 'test')
    assert 'no reference yet' in text and '| reference' not in text.replace('  ', '')


def test_transcripts_are_the_ends_and_the_middle(nine: Path) -> None:
    outcome = reading.load_outcome(nine)
    chosen = transcripts.choose(outcome, 'bl_just', 0, 'dev')
    assert [one.place for one in chosen] == ['better'] * 4 + ['median'] * 2 + ['worse'] * 4
    assert all(list(one.by_arm) == reading.ranked(outcome.results) for one in chosen)
    errors = [
        [error_rates([u.reference], [u.hypothesis]).character_errors for u in (one.by_arm[arm] for one in chosen)]
        for arm in ('bl_just', 'supervised')
    ]
    differences = list(np.subtract(*errors))
    assert differences == sorted(differences) and differences[0] < differences[-1]
    assert len(transcripts.choose(outcome, 'bl_just', 0, 'dev', count=30)) == 24


def test_figures_are_styled_in_notebooks(nine: Path) -> None:
    results = reading.load_outcome(nine).results
    page = Page(figures.standalone(figures.interval_figure(results, 'test', 'cer')))
    assert page.tags[0] == 'style' and 'body' not in page.text and '.interval' in page.text


def test_what_is_no_comparison_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='no comparison in'):
        write_comparison_report(tmp_path)
    (tmp_path / 'results.json').write_text('{"cells": [{}]}')
    with pytest.raises(UserError, match='damaged'):
        write_comparison_report(tmp_path)
    with pytest.raises(UserError, match=r'bljust_jax\.comparison\.report'):
        write_report(tmp_path)


def test_command_line(tmp_path: Path) -> None:
    make_comparison(tmp_path, ('supervised', 'bl_just'), seeds=(0,))
    command = [sys.executable, '-m', 'bljust_jax.comparison.report', f'--workdir={tmp_path}']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and str(tmp_path / 'report.html') in done.stderr
