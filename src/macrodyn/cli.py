"""The command ``macrodyn``: check a configuration, see how far a study is, print its results."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from macrodyn import __version__
from macrodyn.storage.errors import StoreError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        arguments: The command line without the program's name; ``sys.argv`` if left out.

    Returns:
        The exit status: 0, or 1 with a message on standard error.
    """
    parser = argparse.ArgumentParser(
        prog="macrodyn",
        description="Learn the macroscopic dynamics of large systems from small simulations.",
    )
    parser.add_argument("--version", action="version", version=f"macrodyn {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="check a configuration and list its stages")
    check.add_argument("config", type=Path)
    commands.add_parser("systems", help="list the microscopic systems that are installed")
    status = commands.add_parser("status", help="show what of a study is done, running, missing")
    status.add_argument(
        "study", type=Path, help="a configuration, a study's folder, or its name below results/"
    )
    status.add_argument(
        "--lines", type=_count, default=8, help="last log lines of a failed job (default 8)"
    )
    status.add_argument(
        "--watch", type=float, metavar="SECONDS", help="show it again and again, until all is done"
    )
    summary = commands.add_parser("summary", help="print a study's table and its report's path")
    summary.add_argument("folder", type=Path, help="the study's folder, such as results/demo")
    publish = commands.add_parser("publish", help="copy a study's table and figures to keep")
    publish.add_argument("folder", type=Path, help="the study's folder, such as results/ising")
    publish.add_argument("target", type=Path, help="folder to copy to, such as docs/results/ising")
    publish.add_argument("--config", type=Path, required=True, help="the study's configuration")
    publish.add_argument("--runs", nargs="*", default=[], help="runs whose own figures to copy")
    given = parser.parse_args(arguments)
    call = {
        "check": _check,
        "systems": _systems,
        "status": _status,
        "summary": _summary,
        "publish": _publish,
    }
    try:
        call[given.command](given)
    except (ValueError, OSError, StoreError) as error:
        print(f"macrodyn: {error}", file=sys.stderr)
        return 1
    return 0


def _check(given: argparse.Namespace) -> None:
    from macrodyn.pipeline.plan import plan_study
    from macrodyn.study import load_study

    study = load_study(given.config)
    plans = plan_study(study)
    runs_of = Counter(found for plan in plans.values() for found in plan.stages())
    print(f"{given.config}: study {study.name}, {len(plans)} run(s), {len(runs_of)} stage(s)")
    for name, plan in plans.items():
        own = plan.stages()
        shared = sum(runs_of[found] > 1 for found in own)
        print(f"  {name}: {len(own)} stages, {shared} of them shared with other runs")


def _systems(_: argparse.Namespace) -> None:
    from macrodyn.systems import available_systems

    for name, entry in sorted(available_systems().items()):
        cls = entry.load()
        description = (cls.__doc__ or "").strip().splitlines()[0]
        print(f"{name}: {description}")
        for field, info in cls.Parameters.model_fields.items():
            default = "required" if info.is_required() else f"default {info.default!r}"
            print(f"  {field} ({default}): {info.description or ''}")


def _count(text: str) -> int:
    """Read a number of lines for argparse, which names the option where it is refused."""
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def _status(given: argparse.Namespace) -> None:
    from macrodyn.pipeline.status import study_status
    from macrodyn.pipeline.status_text import status_text

    while True:
        status = study_status(given.study)
        text = status_text(status, given.lines)
        if given.watch and sys.stdout.isatty():
            text = f"\x1b[2J\x1b[H{text}"  # a clean screen
        print(text, flush=True)
        if not given.watch or all(job.state == "done" for job in status.jobs):
            return
        try:
            time.sleep(given.watch)
        except KeyboardInterrupt:
            return


def _summary(given: argparse.Namespace) -> None:
    from macrodyn.evaluation.tables import summary_text
    from macrodyn.pipeline.summary import read_summary

    table = given.folder / "summary.csv"
    if not table.exists():
        raise ValueError(f"{table} is missing: run the study first (snakemake --cores all)")
    print(summary_text(read_summary(table)))
    report = given.folder / "report.html"
    if report.exists():
        print(f"\nReport: {report.resolve()}")
    else:
        print(f"\nNo report yet: snakemake --report {report} --configfile CONFIG.yaml")


def _publish(given: argparse.Namespace) -> None:
    from macrodyn.pipeline.publish import publish

    for path in publish(given.folder, given.target, given.config, given.runs):
        print(path)


if __name__ == "__main__":
    sys.exit(main())
