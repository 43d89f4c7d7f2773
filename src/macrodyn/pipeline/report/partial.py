"""The summary of those runs of a study that are finished, where others failed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from macrodyn.paths import StrPath
from macrodyn.pipeline.identity import missing_runs, read_summary_origin, run_identities
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.planner import StudyPlan
from macrodyn.pipeline.report.summary import summarise


def summarise_finished(folder: StrPath, plans: StudyPlan, captions: StrPath) -> str:
    """Summarise the finished runs of a study of which others have no results.

    What is written is older than the results of the runs, so that the next run of the workflow
    makes it anew.

    Args:
        folder: The study's folder.
        plans: All its runs: results of another configuration do not count.
        captions: Where the captions of the figures stand.

    Returns:
        What was done, in words; nothing if no run is finished, or all of them are.
    """
    folder = Path(folder)
    summary, identities = plans.summary, run_identities(plans)
    missing = missing_runs(folder, identities)
    finished = {run: key for run, key in identities.items() if run not in missing}
    if not (missing and finished):
        return ""
    paths = {name: folder / path for name, path in summary.kind.outputs.items()}
    stages = {f"run/{run}": plans[run].evaluation for run in finished}
    origin = read_summary_origin(folder)
    if origin is None or (origin.runs, origin.missing) != (finished, missing):
        _remove(paths.values())
        summarise(
            Job(
                stage=summary.name,
                config=summary.config,
                inputs={
                    role: {
                        name: folder / stage.folder / f for name, f in stage.kind.outputs.items()
                    }
                    for role, stage in stages.items()
                },
                outputs=paths,
                params={"missing": missing},
                captions=Path(captions),
            )
        )
        metrics = [folder / run / "metrics.json" for run in finished]
        before = min(path.stat().st_mtime for path in metrics) - 1
        for path in paths.values():
            os.utime(path, (before, before))
    lacking = ", ".join(f"{run} ({reason})" for run, reason in missing.items())
    return f"{paths['table']} has the {len(finished)} finished run(s); it lacks {lacking}"


def _remove(paths: Iterable[Path]) -> None:
    """Remove what an earlier run of the rule left: figures of other runs, say."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
