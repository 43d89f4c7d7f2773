"""Read a configuration file that may be anything: limits that no honest one comes near.

YAML lets a few lines stand for a structure too large for any memory, by naming a part and using it
many times, and for one that contains itself. Both are refused before anything walks through them.
So is a key that stands twice in one mapping, of which YAML readers keep the last without a word.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from macrodyn.paths import StrPath

MOST_BYTES = 10**6
MOST_VALUES = 10**6
MOST_LEVELS = 50


class ConfigFileError(ValueError):
    """A configuration file cannot be read."""


def read_config(path: StrPath) -> Any:
    """Read a YAML file that holds plain values only.

    Raises:
        ConfigFileError: If it cannot be read, is not YAML, has a key twice, or is beyond the
            limits.
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
        content, repeated = _parse(text)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise ConfigFileError(f"{path} is not valid YAML: {error}") from error
    except RecursionError:
        raise ConfigFileError(f"{path} is nested too deeply") from None
    if repeated:
        raise _twice(path, repeated)
    check_size(content, str(path))
    return content


def check_keys(path: StrPath) -> None:
    """Check that no key stands twice in a file that another program has read, and joined the two.

    What is not YAML, such as JSON with tabs, or cannot be read here passes: that program knew how.

    Raises:
        ConfigFileError: If a key stands twice in one mapping.
    """
    path = Path(path)
    try:
        _, repeated = _parse(path.read_bytes())
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        return
    if repeated:
        raise _twice(path, repeated)


class _Loader(yaml.SafeLoader):
    """Reads plain values only, and notes keys that stand twice in one mapping."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.repeated: list[str] = []

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compare a mapping's own keys, before merge keys (<<) add those of others."""
        node = super().compose_mapping_node(anchor)
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                name, line = self.construct_object(key), key.start_mark.line + 1
                if name in lines:
                    first = lines[name]
                    self.repeated.append(f"line {line}: {key.value} stands in line {first} already")
                lines.setdefault(name, line)
        return node


def _parse(text: bytes) -> tuple[Any, list[str]]:
    """Return what a YAML document holds, and a line for each key that stands twice."""
    loader = _Loader(text.decode("utf-8"))
    try:
        return loader.get_single_data(), loader.repeated
    finally:
        loader.dispose()


def _twice(path: Path, repeated: list[str]) -> ConfigFileError:
    lines = [f"  {line}: keep one of the two, or rename one" for line in repeated]
    return ConfigFileError("\n".join([f"{path} has a key twice in one mapping:", *lines]))


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
