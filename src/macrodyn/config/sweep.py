"""Sweeps: runs for every combination of some values of keys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; anything that is not a mapping replaces what was there."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def swept(
    runs: Mapping[str, dict[str, Any] | None], sweep: Mapping[str, Sequence[Any]]
) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Expand runs by a sweep.

    Args:
        runs: What each run changes in the base, by name.
        sweep: Values by the path of their key, such as ``evolve.dt``.

    Yields:
        Name of a run, what it changes, and the name of the run that it was made of. A value's part
        of a name is that of the key and the value, such as ``dt-0.5`` or ``patch-8x8``.
    """
    for name, changes in runs.items():
        for values in product(*sweep.values()):
            made, parts = dict(changes or {}), [name]
            for path, value in zip(sweep, values, strict=True):
                keys = path.split(".")
                made = merge(made, nested(keys, value))
                parts.append(f"{keys[-1]}-{_text(value)}")
            yield "-".join(parts), made, name


def nested(keys: Sequence[str], value: Any) -> dict[str, Any]:
    """Return a value below keys, each below the one before it."""
    for key in reversed(keys):
        value = {key: value}
    return dict(value)


def _text(value: Any) -> str:
    """Write a value so that it can stand in the name of a run."""
    if isinstance(value, list | tuple):
        return "x".join(map(_text, value))
    if isinstance(value, float):
        return f"{value:g}".replace("+", "")
    return re.sub(r"[^A-Za-z0-9_.-]", "_", str(value))
