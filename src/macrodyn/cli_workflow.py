"""The commands that call Snakemake: run, report."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from macrodyn.cli_app import command
from macrodyn.cli_arguments import Config, cores
from macrodyn.paths import workflow


def add_workflow_commands(app: typer.Typer) -> None:
    """Add them to an application.

    Args:
        app: The application.
    """
    for function in (run, report):
        command(app)(function)


def _profiles(incomplete: str) -> list[str]:
    found = (workflow().parent / "profiles").glob("*/config.yaml")
    return sorted(p.parent.name for p in found if p.parent.name.startswith(incomplete))


def run(
    config: Config,
    extra: Annotated[
        list[str] | None,
        typer.Argument(metavar="SNAKEMAKE", help="After --, what Snakemake is to be told besides."),
    ] = None,
    core: Annotated[
        str | None,
        typer.Option(
            "--cores",
            parser=cores,
            metavar="N",
            help="Cores to use; all, or what a profile says, if left out.",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Where and how jobs run: slurm, or the folder of a profile.",
            autocompletion=_profiles,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("-n", "--dry-run", help="Say what would run, and run nothing.")
    ] = False,
) -> int:
    """Run a study, or go on with it; results go to results/ in this folder."""
    from macrodyn.config.load import load_study

    # Of a wrong file Snakemake itself may say no more than a traceback.
    load_study(config, check_systems=False)
    words: list[str] = []
    if core or not profile:
        words += ["--cores", core or "all"]
    if profile:
        words += ["--profile", _profile(profile)]
    if dry_run:
        words.append("--dry-run")
    # The configuration comes last: its option would take names of files after it for its own.
    return _snakemake([*words, *(extra or []), "--configfile", str(config)])


def report(
    config: Config,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="The file to make; results/<study>/report.html if left out.",
        ),
    ] = None,
) -> int:
    """Make the HTML report of a study that has been run."""
    from macrodyn.config.load import load_study

    study = load_study(config, check_systems=False)
    target = output or Path("results") / study.name / "report.html"
    if target.suffix not in (".html", ".zip"):
        raise ValueError(f"--output {target}: must be a file .html, or .zip")
    # A report that is not finished must not stand in place of the one before.
    part = target.with_name(f"{target.stem}.part{target.suffix}")
    status = _snakemake(["--report", str(part), "--configfile", str(config)])
    if not status:
        os.replace(part, target)
        print(f"Report: {target}")
    return status


def _profile(name: str) -> str:
    """Return where a profile stands that comes with the workflow, else its name."""
    own = workflow().parent / "profiles" / name
    return name if Path(name).exists() or not own.is_dir() else str(own)


def _snakemake(arguments: Sequence[str]) -> int:
    """Call Snakemake, and wait for it also where both were told to stop.

    Returns:
        Its exit status; 128 and the number of the signal that ended it.
    """
    file = workflow()
    # Found by Snakemake itself in the current folder.
    where = [] if file == Path("Snakefile") else ["--snakefile", str(file)]
    words = [*where, *arguments]
    print(shlex.join(["snakemake", *words]), flush=True)
    with subprocess.Popen([sys.executable, "-m", "snakemake", *words]) as process:

        def hand_on(number: int, _: FrameType | None) -> None:
            process.send_signal(number)

        before = signal.signal(signal.SIGTERM, hand_on)
        try:
            while True:
                try:
                    status = process.wait()
                    break
                except KeyboardInterrupt:  # Snakemake got it too, and lets jobs keep checkpoints
                    continue
        finally:
            signal.signal(signal.SIGTERM, before)
    return status if status >= 0 else 128 - status
