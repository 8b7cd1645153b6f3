"""The report of a comparison: one HTML file that opens anywhere, offline.

    python -m bljust_jax.comparison.report --workdir=DIR

writes `DIR/report.html` from `DIR/results.json` and the folders of the runs; whatever is not there yet is left out,
with a line that says so.
"""

import os
from collections import Counter
from pathlib import Path

from absl import flags, logging

from bljust_jax import cli
from bljust_jax.comparison.figures import (
    arm_legend,
    curve_figures,
    interval_figure,
    speaker_figures,
    sweep_figures,
)
from bljust_jax.comparison.reading import (
    NOTES,
    Outcome,
    Results,
    Row,
    breakable,
    contradictions,
    doubts,
    heading,
    load_outcome,
    main_metric,
    main_row,
    metrics,
    p_value,
    ranked,
    relative,
    signed,
    splits,
    unfinished,
)
from bljust_jax.comparison.tables import score_table, spread
from bljust_jax.comparison.transcripts import transcripts
from bljust_jax.files import write_atomically
from bljust_jax.report import REPORT_FILE, page
from bljust_jax.report_sections import escape, missing


def write_comparison_report(workdir: str | os.PathLike[str]) -> Path:
    """Writes the report of the comparison in `workdir`, finished or not, and returns its path.

    Raises:
      UserError: if there is no comparison in `workdir`, or one of its files is damaged.
    """
    path = Path(workdir) / REPORT_FILE
    write_atomically(path, render(load_outcome(workdir)))
    return path


def render(outcome: Outcome) -> str:
    """The whole page."""
    results = outcome.results
    sections = (
        headline(results),
        differences(results),
        tables(results),
        sweep(results),
        curves(outcome),
        speakers(outcome),
        f'<h2>Transcripts side by side</h2>{transcripts(outcome)}',
        cell_states(results),
    )
    return page(
        _title(results), (f'<section class="comparison">{one}</section>' for one in sections if one), outcome.folder
    )


def headline(results: Results) -> str:
    """What was compared, which arm makes the fewest errors, and whether that means anything."""
    states = Counter(cell['state'] for cell in results['cells'])
    facts = [
        f'config {results.get("config")}',
        f'seeds {", ".join(map(str, results.get("seeds", [])))}',
        f'reference {results["reference"]}',
        f'matched {str(results.get("match")).replace("_", " ")}',
        f'checkpoints selected by {results.get("select")}',
        f'swept {results["sweep"]["field"]}' if results.get('sweep') else '',
    ]
    counts = ' · '.join(f'{states[state]} {state}' for state in ('finished', 'failed', 'unfinished') if states[state])
    total = len(results['cells'])
    pending = (
        '' if states['finished'] == total else missing(f'{total} cells: {counts}.', 'The reasons stand at the end.')
    )
    facts.append(f'{total} runs, all finished' if not pending else '')
    return (
        f'<h1>{escape(_title(results))}</h1><p class="lead">{escape(" · ".join(filter(None, facts)))}</p>'
        f'{verdict(results)}{pending}'
    )


def verdict(results: Results) -> str:
    """In a sentence or two: the arm with the fewest errors, by how much, and what speaks against it."""
    if not splits(results):
        return missing('No cell has finished yet.', 'Rates, intervals and tests follow when one has.')
    rows = [row for arm in ranked(results) if (row := main_row(results, arm))]
    row, others, reference = rows[0], rows[1:], str(results['reference'])
    best, metric, split = row['arm'], main_metric(results).upper(), row['split']
    first = f'<b>{escape(best)}</b> has the lowest {metric} on {escape(split)}: <b>{spread(row)}%</b>'
    compared = row if best != reference else next(iter(others), None)
    kind = 'unclear'
    if compared is None:
        second = 'No other arm has been scored there yet.'
    elif not compared.get('against'):
        second = f'The reference <b>{escape(reference)}</b> has not finished: there is nothing to compare with yet.'
    else:
        kind = 'unclear' if doubts(compared) or contradictions(results, compared) else 'clear'
        second = _against(compared, reference)
    notes = [
        f'{one["metric"].upper()} on {one["split"]} says otherwise: {signed(one["against"]["difference"])} points.'
        for one in (contradictions(results, compared) if compared and compared.get('against') else ())
    ]
    if best != reference and others and others[0]['arm'] != reference:
        notes.append(f'The runner-up is {others[0]["arm"]}; tests are against the reference alone.')
    hints = ''.join(f'<p class="hint">{escape(note)}</p>' for note in notes)
    return f'<div class="card verdict {kind}"><p class="first">{first}</p><p>{second}</p>{hints}</div>'


def differences(results: Results) -> str:
    """The interval plots, a figure for each split and rate."""
    title = f'<h2>Difference to {escape(results["reference"])}</h2>'
    figures = [interval_figure(results, split, metric) for metric in metrics(results) for split in splits(results)]
    if not any(figures):
        why = 'They take a finished seed of another arm and of the reference, which must have made errors.'
        return title + missing('No differences yet.', why)
    return (
        f'{title}<p class="hint">Relative, in percent; to the left there are fewer errors. Thick: 95% interval over '
        'utterances; thin: over speakers. An interval across the line of the reference decides nothing: it is drawn '
        f'hollow.</p><div class="charts">{"".join(figures)}</div>'
    )


def tables(results: Results) -> str:
    """A table for each split."""
    if not splits(results):
        return ''
    hint = (
        '<p class="hint">Rates in percent, the mean ± standard deviation over seeds, below them the 95% interval of a '
        'bootstrap over utterances. Differences to the reference in points (and relative), with paired intervals over '
        'utterances (utt.), speakers (spk.) and seeds (a paired t interval); ▼ fewer or ▲ more errors where that over '
        'utterances excludes zero, hollow (▽ △) where speakers, seeds or p do not confirm it. The intervals over '
        'utterances and speakers are for these trained models, that over seeds is about others. p: paired permutation, '
        f'corrected after Holm. Bold: the lowest. {escape(" ".join(NOTES))}</p>'
    )
    speakers = any(row.get('speaker_interval') for row in results['rows'])
    none = '' if speakers else missing('No intervals over speakers.', 'They take at least five speakers.')
    each = (
        f'<h2>Results on {escape(heading(results, split))}</h2>{score_table(results, split)}'
        for split in splits(results)
    )
    return f'{"".join(each)}{hint}{none}'


def sweep(results: Results) -> str:
    """The rates on dev over what was swept; nothing without a sweep."""
    if not results.get('sweep'):
        return ''
    title = f'<h2>Sweep of {escape(results["sweep"]["field"])}</h2>'
    figures = sweep_figures(results)
    if not figures:
        return title + missing('No curve of the sweep yet.', 'It takes finished cells.')
    hint = '<p class="hint">A dot for each seed, the line through the means.</p>'
    return f'{title}{hint}<div class="charts">{"".join(figures)}</div>'


def curves(outcome: Outcome) -> str:
    """The curves of all arms on top of each other."""
    figures = curve_figures(outcome, legend=False)
    if not figures:
        return '<h2>Training</h2>' + missing('No curves yet.', 'Nothing has been logged so far.')
    return (
        '<h2>Training</h2><p class="hint">Thick lines are means over seeds, thin ones single seeds; losses are '
        'smoothed. Labelled hours between the start and the end of a run are reckoned from its supervised steps. Point '
        f'at a chart to read its values.</p><div class="arms">{arm_legend(outcome.results)}</div>'
        f'<div class="charts">{"".join(figures)}</div>'
    )


def speakers(outcome: Outcome) -> str:
    """The scatter plots of speakers."""
    figures = speaker_figures(outcome)
    if not figures:
        why = 'Two are needed, with transcripts by the reference and by another arm of the same seed.'
        return '<h2>Speakers</h2>' + missing('No speakers.', why)
    return (
        '<h2>Speakers</h2><p class="hint">A dot for each speaker, its area the number of words; across: the reference, '
        'upwards: the arm, in percent. Below the diagonal the arm makes fewer errors.</p>'
        f'<div class="charts small">{"".join(figures)}</div>'
    )


def cell_states(results: Results) -> str:
    """The cells that have not finished, and why."""
    pending = unfinished(results)
    if not pending:
        return ''
    rows = ''.join(
        f'<tr><th>{breakable(cell["arm"])}</th><td>{escape(cell["seed"])}</td><td>{escape(cell["state"])}</td>'
        f'<td class="reason">{escape(cell.get("error") or "–")}</td></tr>'
        for cell in pending
    )
    return (
        '<h2>Cells without a result</h2><div class="card scroll"><table class="results"><thead><tr><th>Arm</th>'
        f'<th>Seed</th><th>State</th><th class="reason">Reason</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _against(row: Row, reference: str) -> str:
    """The difference of a row in words, with what speaks for it or against it."""
    against = row['against']
    said = doubts(row)
    over = 'utterances, speakers and seeds' if against.get('speaker_interval') else 'utterances and seeds'
    meaning = f'Not settled: {"; ".join(said)}.' if said else f'The intervals over {over} exclude zero.'
    interval = ' to '.join(map(signed, against['interval'])) if against['interval'] else '–'
    return (
        f'{escape(row["arm"])} against the reference {escape(reference)}: <b>{relative(against["relative"])}</b> '
        f'relative, {signed(against["difference"])} points, 95% interval {interval}, '
        f'Holm p {escape(p_value(against.get("p_holm")))}. <b>{escape(meaning)}</b>'
    )


def _title(results: Results) -> str:
    return f'Comparison of training strategies on {results.get("corpus") or "an unnamed corpus"}'


def main(argv: list[str]) -> None:
    """Writes the report of `--workdir`."""
    cli.refuse_arguments(argv)
    logging.info('Wrote %s', write_comparison_report(Path(_WORKDIR.value).expanduser()))


if __name__ == '__main__':
    _WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the comparison.', required=True)
    cli.run(main)
