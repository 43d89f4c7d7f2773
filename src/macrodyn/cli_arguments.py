"""Readers of what the command line is given: a value, or what it must be."""

from __future__ import annotations

import argparse
import math

_A_DAY = 86_400


def whole(text: str) -> int:
    """Read a whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 0, not {text!r}")
    return int(text)


def seconds(text: str) -> float:
    """Read a time to wait."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found <= _A_DAY:
        raise argparse.ArgumentTypeError(
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
        raise argparse.ArgumentTypeError(f"must be NAME=NUMBER, not {text!r}")
    return name, found


def positive(text: str) -> float:
    """Read a number of more than 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of more than 0, not {text!r}")
    return value


def lattice(text: str) -> tuple[int, ...]:
    """Read sites along each axis."""
    sides = text.lower().split("x")
    if not all(side.isdecimal() and int(side) for side in sides):
        raise argparse.ArgumentTypeError(f"must be sites along each axis, as 64x64, not {text!r}")
    return tuple(map(int, sides))
