"""What a run of the workflow leaves in the study's folder, for those who ask how far it is."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from macrodyn.storage.files import write_json

FILE = "study.json"
REMEDY = "name the configuration instead (macrodyn status CONFIG.yaml)"
# Options that make finished work again: they are for one call, not for those that go on after it.
_ONCE = {"-F", "--forceall", "-f", "--force", "-t", "--touch", "-R", "--forcerun"}
_WITH_RULES = {"-R", "--forcerun"}


class RecordError(ValueError):
    """A study's folder has no readable record."""


@dataclass(frozen=True)
class Record:
    """A study as it was last run.

    Attributes:
        config: Its configuration.
        command: The command that goes on with it.
    """

    config: dict[str, Any]
    command: str


def write_record(folder: Path, config: dict[str, Any], arguments: Sequence[str]) -> None:
    """Write the record of a run that begins.

    Args:
        folder: The study's folder.
        config: Its configuration.
        arguments: Snakemake's command line without the program's name.
    """
    write_json(folder / FILE, {"command": go_on_command(arguments), "config": config})


def read_record(folder: Path) -> Record:
    """Read the record of a study's folder.

    Raises:
        RecordError: If there is none, or it is damaged.
    """
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        record = Record(dict(content["config"]), str(content["command"]))
        if record.config:
            return record
        reason = f"{path} holds an empty configuration: the next run writes it anew"
    except FileNotFoundError:
        reason = f"{path} is missing: it is written when the study is run"
    except IsADirectoryError:
        reason = f"{path} is a folder: move it away, and the next run writes the file"
    except OSError as error:
        reason = f"{path} cannot be read ({error.strerror}): make it readable"
    except (ValueError, KeyError, TypeError, RecursionError) as error:
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
