"""Read a configuration file that may be anything: limits that no honest one comes near.

YAML lets a few lines stand for a structure too large for any memory, by naming a part and using it
many times, and for one that contains itself. Both are refused before anything walks through them.
So are a key that stands twice in one mapping, of which YAML readers keep the last without a word,
and numbers in notations that mean something else to most readers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from macrodyn.config.text import Document
from macrodyn.paths import StrPath

MOST_BYTES = 10**6
MOST_VALUES = 10**6
MOST_LEVELS = 50


class ConfigFileError(ValueError):
    """A configuration file cannot be read."""


def read_config(path: StrPath) -> Document:
    """Read a YAML file that holds plain values only.

    Raises:
        ConfigFileError: If it cannot be read, is not YAML, has a key twice or a number in a
            notation of YAML 1.1 alone, or is beyond the limits.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigFileError(f"cannot read the configuration {path}: {error.strerror}") from error
    if len(text) > MOST_BYTES:
        raise ConfigFileError(f"{path} has more than {MOST_BYTES:,} bytes")
    try:
        document = Document(text)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise ConfigFileError(f"{path} is not valid YAML: {error}") from error
    except RecursionError:
        raise ConfigFileError(f"{path} is nested too deeply") from None
    check_size(document.content, str(path))
    _check(document, path)
    return document


def check_file(path: StrPath) -> Document | None:
    """Check a file that another program has read: it keeps the last of keys that stand twice.

    Returns:
        What it holds, with the text of its values; None for what is not YAML, such as JSON with
        tabs, or cannot be read here: that program knew how.

    Raises:
        ConfigFileError: If a key stands twice in one mapping, or a number is in a notation of YAML
            1.1 alone.
    """
    path = Path(path)
    try:
        document = Document(path.read_bytes())
        _check(document, path)
    except ConfigFileError:
        raise
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        return None
    return document


def _check(document: Document, path: Path) -> None:
    """Check what YAML readers pass over without a word."""
    if document.repeated:
        lines = [f"  {line}: keep one of the two, or rename one" for line in document.repeated]
        raise ConfigFileError("\n".join([f"{path} has a key twice in one mapping:", *lines]))
    if peculiar := document.peculiar():
        lines = [f"  {line}" for line in peculiar]
        raise ConfigFileError("\n".join([f"{path} has numbers that YAML reads oddly:", *lines]))


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
