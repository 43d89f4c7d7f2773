"""The command ``macrodyn``: begin a study, check it, run it, see how far it is, ask it."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from macrodyn import __version__
from macrodyn.cli_app import Commands, OneCommand, command
from macrodyn.cli_arguments import AsJson, Config, Study, print_json, seconds, whole
from macrodyn.cli_init import init
from macrodyn.cli_model import add_model_commands
from macrodyn.cli_workflow import add_workflow_commands

app = typer.Typer(
    cls=Commands,
    help="Learn the macroscopic dynamics of large systems from small simulations.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        arguments: The command line without the program's name; ``sys.argv`` if left out.

    Returns:
        The exit status: 0; 1 with a message on standard error, also where a study has not been run
        with the configuration that was asked about; 2 with a message where the command line is
        wrong; 141 without one if what reads the output has ended, such as ``head``; that of
        Snakemake where it was called.
    """
    # A title may have letters that the terminal lacks.
    if callable(reconfigure := getattr(sys.stdout, "reconfigure", None)):
        reconfigure(errors="replace")
    given = None if arguments is None else list(arguments)
    try:
        status = typer.main.get_command(app)(given, prog_name="macrodyn", standalone_mode=False)
    except typer.TyperException as error:
        _explain(error)
        return error.exit_code
    return int(status or 0)


def _explain(error: typer.TyperException) -> None:
    """Say what is wrong with the command line."""
    context = getattr(error, "ctx", None)
    if context is not None:
        print(context.get_usage(), file=sys.stderr)
        print(f"Try '{context.command_path} --help' for help.\n", file=sys.stderr)
    print(f"macrodyn: {error.format_message()}", file=sys.stderr)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"macrodyn {__version__}")
        raise typer.Exit


@app.callback()
def _macrodyn(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass


@command(app)
def check(config: Config) -> None:
    """Check a configuration and list its stages."""
    from macrodyn.config.load import load_study
    from macrodyn.pipeline.planner import plan_study

    study = load_study(config)
    for warning in study.warnings:
        print(f"macrodyn: warning: {warning}", file=sys.stderr)
    plans = plan_study(study)
    runs_of = Counter(found for plan in plans.values() for found in plan.stages())
    print(f"{config}: study {study.name}, {len(plans)} run(s), {len(runs_of)} stage(s)")
    for name, plan in plans.items():
        own = plan.stages()
        shared = sum(runs_of[found] > 1 for found in own)
        print(f"  {name}: {len(own)} stages, {shared} of them shared with other runs")


@command(app)
def systems(as_json: AsJson = False) -> None:
    """List the microscopic systems that are installed."""
    from macrodyn.cli_systems import described_systems, system_lines

    found = described_systems()
    if as_json:
        print_json({"systems": list(found)})
        return
    for system in found:
        print("\n".join(system_lines(system)))


@command(app)
def status(
    study: Study,
    lines: Annotated[
        int, typer.Option(parser=whole, metavar="N", help="Last log lines of a failed job.")
    ] = 8,
    watch: Annotated[
        float | None,
        typer.Option(
            parser=seconds, metavar="SECONDS", help="Show it again and again, until all is done."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what of a study is done, running, missing."""
    from macrodyn.pipeline.monitor.status import study_status
    from macrodyn.pipeline.monitor.status_json import status_document
    from macrodyn.pipeline.monitor.status_text import status_text

    if watch and as_json:
        raise typer.BadParameter("--json prints one document, --watch many: give one of the two")
    while True:
        found = study_status(study)
        if as_json:
            print_json(status_document(found))
            return
        text = status_text(found, lines)
        if watch and sys.stdout.isatty():
            text = f"\x1b[2J\x1b[H{text}"  # a clean screen
        print(text, flush=True)
        if not watch or all(job.state == "done" for job in found.jobs):
            return
        try:
            time.sleep(watch)
        except KeyboardInterrupt:
            return


@command(app)
def summary(study: Study, as_json: AsJson = False) -> None:
    """Print a study's table and its report's path."""
    from macrodyn.pipeline.report.shown import shown_summary, table_text

    shown = shown_summary(study)
    if as_json:
        missing = shown.missing or None
        print_json({"runs": shown.rows, "notes": shown.notes, "missing": missing})
    else:
        print(table_text(shown.rows))
        for note in shown.notes:
            print(f"\n{note}")
    if shown.missing:
        raise ValueError(shown.missing)


class _Publish(OneCommand):
    """Takes several runs after one ``--runs``, up to the next option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        spread: list[str] = []
        inside = False
        for word in args:
            if word.startswith("-"):
                inside = word == "--runs"
                spread += [] if inside else [word]
            else:
                spread += ["--runs", word] if inside else [word]
        return super().parse_args(ctx, spread)


@command(app, cls=_Publish)
def publish(
    study: Annotated[
        Path, typer.Argument(metavar="STUDY", help="The study's folder, or its name in results/.")
    ],
    target: Annotated[
        Path,
        typer.Argument(metavar="TARGET", help="Folder to copy to, such as docs/results/ising."),
    ],
    config: Annotated[Path, typer.Option(metavar="CONFIG", help="The study's configuration.")],
    runs: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME ...", help="Runs whose own figures to copy."),
    ] = None,
) -> None:
    """Copy a study's table and figures to keep."""
    from macrodyn.pipeline.monitor.status import study_folder
    from macrodyn.pipeline.report.publish import publish as copy

    for path in copy(study_folder(study), target, config, runs or []):
        print(path)


app.add_typer(init, name="init")
add_workflow_commands(app)
add_model_commands(app)

if __name__ == "__main__":
    sys.exit(main())
