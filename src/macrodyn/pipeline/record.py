"""What a run of the workflow leaves in the study's folder, for those who ask how far it is."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from macrodyn.paths import StrPath, is_checkout
from macrodyn.storage.files import write_json

FILE = "study.json"
REMEDY = "name the configuration instead (macrodyn status CONFIG.yaml)"
# Options that make finished work again: they are for one call, not for those that go on after it.
_ONCE = {"-F", "--forceall", "-f", "--force", "-t", "--touch", "-R", "--forcerun"}
_WITH_RULES = {"-R", "--forcerun"}
_RUN = ["macrodyn", "run"]


class RecordError(ValueError):
    """A study's folder has no readable record."""


@dataclass(frozen=True)
class Record:
    """A study as it was last run.

    Attributes:
        config: Its configuration.
        command: The command that goes on with it.
        identities: The identities of its runs; empty where they were not written down.
    """

    config: dict[str, Any]
    command: str
    identities: dict[str, str] = field(default_factory=dict)

    def names(self, config: StrPath) -> bool:
        """Whether the command runs a configuration file, and no other joined to it."""
        found = _reading(self.command)
        files = [os.path.abspath(file) for file in found.configfile]
        return files == [os.path.abspath(config)] and not found.config

    def report_command(self, report: StrPath) -> str:
        """Return the command that makes the report of this study.

        Args:
            report: The file to make.
        """
        words = shlex.split(self.command)
        if words[:2] == _RUN:
            return shlex.join(["macrodyn", "report", *words[2:], "--output", str(report)])
        return shlex.join(["snakemake", "--report", str(report), *_where(self.command)])


def write_record(
    folder: StrPath,
    config: dict[str, Any],
    arguments: Sequence[str],
    identities: Mapping[str, str] | None = None,
) -> None:
    """Write the record of a run that begins.

    Args:
        folder: The study's folder.
        config: Its configuration.
        arguments: Snakemake's command line without the program's name.
        identities: The identities of its runs.
    """
    content = {"command": go_on_command(arguments), "config": config}
    known = {"identities": dict(identities)} if identities else {}
    write_json(Path(folder) / FILE, content | known)


def read_record(folder: StrPath) -> Record:
    """Read the record of a study's folder.

    Raises:
        RecordError: If there is none, or it is damaged.
    """
    path = Path(folder) / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        identities = dict(content.get("identities", {}))
        record = Record(dict(content["config"]), str(content["command"]), identities)
        if record.config:
            return record
        reason = f"{path} holds an empty configuration: the next run writes it anew"
    except FileNotFoundError:
        reason = f"{path} is missing: it is written when the study is run"
    except IsADirectoryError:
        reason = f"{path} is a folder: move it away, and the next run writes the file"
    except OSError as error:
        reason = f"{path} cannot be read ({error.strerror}): make it readable"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{path} cannot be read ({error}): the next run writes it anew"
    raise RecordError(f"{reason}; {REMEDY}")


def go_on_command(arguments: Sequence[str]) -> str:
    """Return the Snakemake command that goes on after this one.

    Args:
        arguments: The command line of the run, without the program's name.
    """
    kept: list[str] = []
    skip_values = False
    for argument in arguments:
        if argument.split("=")[0] in _ONCE:
            skip_values = argument in _WITH_RULES
        elif argument.startswith("-") or not skip_values:
            skip_values = False
            kept.append(argument)
    return shlex.join(["snakemake", *kept])


def run_command(*configs: StrPath) -> str:
    """Return the command that runs a study which has no record.

    Args:
        configs: Its configuration files; Snakemake's own default if left out.

    Returns:
        Snakemake's in a checkout, where it finds the workflow by itself; else that of macrodyn.
    """
    if len(configs) == 1 and not is_checkout(""):
        return shlex.join([*_RUN, str(configs[0])])
    given = ["--configfile", *map(str, configs)] if configs else []
    return shlex.join(["snakemake", "--cores", "all", *given])


# Options of Snakemake that say which study it is, whatever is done with it.
_STUDY_OPTIONS = (
    ("--configfile", "--configfiles"),
    ("--config", "-C"),
    ("--snakefile", "-s"),
    ("--directory", "-d"),
)


def _reading(command: str) -> argparse.Namespace:
    """Read of a Snakemake command which study it is about."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for names in _STUDY_OPTIONS[:2]:
        parser.add_argument(*names, nargs="+", default=[], dest=names[0].strip("-"))
    for names in _STUDY_OPTIONS[2:]:
        parser.add_argument(*names, dest=names[0].strip("-"))
    return parser.parse_known_args(shlex.split(command)[1:])[0]


def _where(command: str) -> list[str]:
    """Return those arguments of a Snakemake command that say which study it is about."""
    found = vars(_reading(command))
    words: list[str] = []
    for option, *_ in _STUDY_OPTIONS:
        value = found[option.strip("-")]
        if value:
            words += [option, *([value] if isinstance(value, str) else value)]
    return words
