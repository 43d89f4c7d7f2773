"""Read a configuration file that may be anything: limits that no honest one comes near.

YAML lets a few lines stand for a structure too large for any memory, by naming a part and using it
many times, and for one that contains itself. Both are refused before anything walks through them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 10**6
MOST_VALUES = 10**6
MOST_LEVELS = 50


class ConfigFileError(ValueError):
    """A configuration file cannot be read."""


def read_config(path: Path) -> Any:
    """Read a YAML file that holds plain values only.

    Raises:
        ConfigFileError: If it cannot be read, is not YAML, or is beyond the limits.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigFileError(f"cannot read the configuration {path}: {error.strerror}") from error
    if len(text) > MOST_BYTES:
        raise ConfigFileError(f"{path} has more than {MOST_BYTES:,} bytes")
    try:
        content = yaml.safe_load(text.decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise ConfigFileError(f"{path} is not valid YAML: {error}") from error
    except RecursionError:
        raise ConfigFileError(f"{path} is nested too deeply") from None
    check_size(content, str(path))
    return content


def check_size(content: Any, where: str = "") -> None:
    """Check how large a structure is once all that it uses repeatedly is written out.

    Args:
        content: Plain values, mappings and lists, of which parts may be the same object.
        where: Name of the file for the message.

    Raises:
        ConfigFileError: If it is beyond the limits, or contains itself.
    """
    where = where or "the configuration"
    try:
        values, levels = _measure(content, {})
    except RecursionError:
        values, levels = 0, MOST_LEVELS + 1
    if levels > MOST_LEVELS:
        raise ConfigFileError(
            f"{where} is nested more than {MOST_LEVELS} levels deep, or contains itself by an "
            "alias (*name)"
        )
    if values > MOST_VALUES:
        raise ConfigFileError(
            f"{where} stands for {float(values):.1e} values, as its aliases (*name) multiply; at "
            f"most {MOST_VALUES:,} are allowed"
        )


def _measure(part: Any, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Return the number of values and of levels of a part; what is known is not counted again."""
    if not isinstance(part, dict | list | tuple):
        return 1, 0
    if id(part) not in known:
        inner = part.values() if isinstance(part, dict) else part
        found = [_measure(value, known) for value in inner]
        values = 1 + sum(values for values, _ in found)
        known[id(part)] = values, 1 + max((levels for _, levels in found), default=0)
    return known[id(part)]
