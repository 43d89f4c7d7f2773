"""What several commands take, and readers of values: a value, or what it must be."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

_A_DAY = 86_400


def whole(given: str | int) -> int:
    """Read a whole number of at least 0; a default is one."""
    text = str(given)
    if not text.isdecimal():
        raise typer.BadParameter(f"must be a whole number of at least 0, not {text!r}")
    return int(text)


def seconds(text: str) -> float:
    """Read a time to wait."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found <= _A_DAY:
        raise typer.BadParameter(
            f"must be a number of seconds, more than 0 and at most {_A_DAY}, not {text!r}"
        )
    return found


def assigned(text: str) -> tuple[str, list[float]]:
    """Read NAME=VALUE,VALUE."""
    name, equals, values = text.partition("=")
    try:
        found = [float(value) for value in values.split(",")]
    except ValueError:
        found = []
    if not (name and equals and found and all(map(math.isfinite, found))):
        raise typer.BadParameter(f"must be NAME=NUMBER, not {text!r}")
    return name, found


def positive(text: str) -> float:
    """Read a number of more than 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise typer.BadParameter(f"must be a number of more than 0, not {text!r}")
    return value


def lattice(text: str) -> tuple[int, ...]:
    """Read sites along each axis."""
    sides = text.lower().split("x")
    if not all(side.isdecimal() and int(side) for side in sides):
        raise typer.BadParameter(f"must be sites along each axis, as 64x64, not {text!r}")
    return tuple(map(int, sides))


def cores(text: str) -> str:
    """Read a number of cores of at least 1, or all."""
    if text != "all" and not (text.isdecimal() and int(text)):
        raise typer.BadParameter(f"must be a number of at least 1, or all, not {text!r}")
    return text


def studies(incomplete: str) -> list[str]:
    """List the studies below results/ that begin so, for the shell to complete."""
    found = Path("results").glob("*/study.json")
    return sorted(path.parent.name for path in found if path.parent.name.startswith(incomplete))


def print_json(document: Any) -> None:
    """Print a document as strict JSON; numbers that are not finite as null."""
    print(json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return value if value is None or isinstance(value, (str, int)) else str(value)


Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration, a YAML file.")]
Study = Annotated[
    Path,
    typer.Argument(
        metavar="STUDY",
        help="A configuration, a study's folder, or its name in results/.",
        autocompletion=studies,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
