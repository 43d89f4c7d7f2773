"""The command ``macrodyn``: check a configuration, see how far a study is, ask what it learned."""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from macrodyn import __version__
from macrodyn.cli_arguments import seconds, whole
from macrodyn.cli_model import add_commands
from macrodyn.storage.errors import StoreError

# What a shell reports of a program whose reader has gone.
_BROKEN_PIPE = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        arguments: The command line without the program's name; ``sys.argv`` if left out.

    Returns:
        The exit status: 0; 1 with a message on standard error, also where a study has not been run
        with the configuration that was asked about; 141 without one if what reads the output has
        ended, such as ``head``.
    """
    given = make_parser().parse_args(arguments)
    # A title may have letters that the terminal lacks.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        given.call(given)
        sys.stdout.flush()
    except BrokenPipeError:
        # What is left to print goes nowhere, or Python complains of it when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except (ValueError, OSError, StoreError) as error:
        # After what was printed before, also where both go to one file.
        sys.stdout.flush()
        print(f"macrodyn: {error}", file=sys.stderr)
        return 1
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="macrodyn",
        description="Learn the macroscopic dynamics of large systems from small simulations.",
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"macrodyn {__version__}",
        help="show the version and exit",
    )
    commands = parser.add_subparsers(dest="command", required=True, help="what to do")

    def command(name: str, call: Callable[[argparse.Namespace], None], text: str) -> Any:
        added = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        added.set_defaults(call=call)
        return added

    check = command("check", _check, "check a configuration and list its stages")
    check.add_argument("config", type=Path, help="the configuration, a YAML file")
    command("systems", _systems, "list the microscopic systems that are installed")
    study = "a configuration, a study's folder, or its name below results/"
    status = command("status", _status, "show what of a study is done, running, missing")
    status.add_argument("study", type=Path, help=study)
    status.add_argument(
        "--lines", type=whole, default=8, help="last log lines of a failed job (default 8)"
    )
    status.add_argument(
        "--watch",
        type=seconds,
        metavar="SECONDS",
        help="show it again and again, until all is done",
    )
    summary = command("summary", _summary, "print a study's table and its report's path")
    summary.add_argument("study", type=Path, help=study)
    add_commands(command)
    publish = command("publish", _publish, "copy a study's table and figures to keep")
    publish.add_argument("study", type=Path, help="the study's folder, or its name below results/")
    publish.add_argument("target", type=Path, help="folder to copy to, such as docs/results/ising")
    publish.add_argument("--config", type=Path, required=True, help="the study's configuration")
    publish.add_argument("--runs", nargs="*", default=[], help="runs whose own figures to copy")
    return parser


def _check(given: argparse.Namespace) -> None:
    from macrodyn.config.load import load_study
    from macrodyn.pipeline.planner import plan_study

    study = load_study(given.config)
    for warning in study.warnings:
        print(f"macrodyn: warning: {warning}", file=sys.stderr)
    plans = plan_study(study)
    runs_of = Counter(found for plan in plans.values() for found in plan.stages())
    print(f"{given.config}: study {study.name}, {len(plans)} run(s), {len(runs_of)} stage(s)")
    for name, plan in plans.items():
        own = plan.stages()
        shared = sum(runs_of[found] > 1 for found in own)
        print(f"  {name}: {len(own)} stages, {shared} of them shared with other runs")


def _systems(_: argparse.Namespace) -> None:
    from macrodyn.systems import available_systems

    for name in sorted(available_systems()):
        try:
            lines = list(_description(name))
        except Exception as error:  # a system's own code may raise anything
            lines = [f"{name}: cannot be used ({type(error).__name__}: {error})"]
        print("\n".join(lines))


def _description(name: str) -> Iterator[str]:
    from macrodyn.methods.registry import BUILT_IN, find_method
    from macrodyn.systems import system_class

    cls = system_class(name)
    lines = (cls.__doc__ or "").strip().splitlines()
    yield f"{name}: {lines[0] if lines else '(its class has no docstring)'}"
    if methods := [m for m in BUILT_IN if issubclass(cls, find_method(m).System)]:
        yield f"  for method: {', '.join(methods)}"
    for field, info in cls.Parameters.model_fields.items():
        default = "required" if info.is_required() else f"default {info.default!r}"
        yield f"  {field} ({default}): {info.description or ''}"


def _status(given: argparse.Namespace) -> None:
    from macrodyn.pipeline.monitor.status import study_status
    from macrodyn.pipeline.monitor.status_text import status_text

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
    from macrodyn.pipeline.report.shown import shown_summary, table_text

    shown = shown_summary(given.study)
    print(table_text(shown.rows))
    for note in shown.notes:
        print(f"\n{note}")
    if shown.missing:
        raise ValueError(shown.missing)


def _publish(given: argparse.Namespace) -> None:
    from macrodyn.pipeline.monitor.status import study_folder
    from macrodyn.pipeline.report.publish import publish

    for path in publish(study_folder(given.study), given.target, given.config, given.runs):
        print(path)


if __name__ == "__main__":
    sys.exit(main())
