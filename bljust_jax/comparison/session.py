"""One sitting of a comparison: run what has no result yet, choose, score, and write the results."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bljust_jax.comparison.arms import Comparison
from bljust_jax.comparison.plan import arm_configs, choose, scoring_jobs, training_jobs, unused
from bljust_jax.comparison.reading import RESULTS_FILE
from bljust_jax.comparison.report import write_comparison_report
from bljust_jax.comparison.results import TABLE_FILE, read_errors, write_results
from bljust_jax.comparison.runner import Interrupted, Job, check_folders, is_finished, run_jobs
from bljust_jax.errors import UserError
from bljust_jax.files import locked
from bljust_jax.workdir import make_folder


def run_session(
    comparison: Comparison, workdir: Path, *, shard: tuple[int, int] = (1, 1), only_results: bool = False
) -> int:
    """Runs the cells of a shard and writes the results of all that have finished.

    Args:
      comparison: what is compared.
      workdir: its folder, which is made.
      shard: `(i, n)` runs cells i, i + n, ... (from 1) only.
      only_results: runs nothing.

    Returns:
      The exit code: 1 if a cell of the shard failed, 130 after an interrupt, else 0.

    Raises:
      UserError: for a mistake in the comparison, before anything is run, and for damaged files.
    """
    configs = arm_configs(comparison, workdir)
    jobs = training_jobs(comparison, configs)
    check_folders(jobs, workdir)
    make_folder(workdir)
    if (workdir / 'config.json').exists():
        raise UserError(f'--workdir={workdir} holds a run: name another folder for the comparison.')
    for note in unused(comparison, configs):
        print(note)
    mine = [] if only_results else jobs[shard[0] - 1 :: shard[1]]
    tried: dict[str, str] = {}
    interrupted = False
    try:
        run_jobs(mine, workdir, tried)
        if comparison.sweep and not only_results:
            chosen = choose(comparison, workdir, _errors(workdir, jobs, tried))
            run_jobs(scoring_jobs(comparison, configs, chosen), workdir, tried)
    except Interrupted:
        interrupted = True
    # Other shards have run meanwhile, and may be writing now: what they have told is read under the lock.
    with locked(workdir / RESULTS_FILE):
        chosen = choose(comparison, workdir, _errors(workdir, jobs, tried))
        errors = _errors(workdir, [*jobs, *scoring_jobs(comparison, configs, chosen)], tried)
        write_results(comparison, workdir, chosen, errors)
        report = write_comparison_report(workdir)
    print(f'\n{(workdir / TABLE_FILE).read_text()}\nResults: {workdir / RESULTS_FILE}\nReport: {report}')
    if interrupted:
        print(f'Interrupted; to go on: run the same command with --workdir={workdir}')
        return 130
    return 1 if any(tried.values()) else 0


def _errors(workdir: Path, jobs: Sequence[Job], tried: Mapping[str, str]) -> dict[str, str]:
    """Why cells have failed that have not finished since, by `run`: in this sitting, or as others have told.

    Of several `jobs` of a cell the last one says what is finished.
    """
    errors = {**read_errors(workdir), **tried}
    last = {job.cell.run: job for job in jobs}
    return {run: errors[run] for run, job in last.items() if errors.get(run) and not is_finished(job, workdir)}
