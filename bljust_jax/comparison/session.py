"""One sitting of a comparison: run what has no result yet, choose, score, and write the results."""

from pathlib import Path

from bljust_jax.comparison.arms import Comparison, make_folder
from bljust_jax.comparison.plan import arm_configs, choose, scoring_jobs, training_jobs
from bljust_jax.comparison.report import write_comparison_report
from bljust_jax.comparison.results import RESULTS_FILE, TABLE_FILE, read_errors, write_results
from bljust_jax.comparison.runner import Interrupted, check_folders, read_summary, run_jobs


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
    known = read_errors(workdir)
    mine = [] if only_results else jobs[shard[0] - 1 :: shard[1]]
    try:
        ours = run_jobs(mine, workdir)
        tried = {job.cell.run for job in mine}
        errors = {run: error for run, error in known.items() if run not in tried and not read_summary(workdir / run)}
        errors |= ours
        chosen = choose(comparison, workdir, errors)
        if comparison.sweep and not only_results:
            failed = run_jobs(scoring_jobs(comparison, configs, chosen), workdir)
            ours, errors = ours | failed, errors | failed
    except Interrupted:
        print(f'Interrupted; to go on: run the same command with --workdir={workdir}')
        return 130
    write_results(comparison, workdir, chosen, errors)
    report = write_comparison_report(workdir)
    print(f'\n{(workdir / TABLE_FILE).read_text()}\nResults: {workdir / RESULTS_FILE}\nReport: {report}')
    return 1 if ours else 0
