"""The installed systems, described for a terminal or for another program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def described_systems() -> Iterator[dict[str, Any]]:
    """Describe each installed system, in the order of their names.

    Yields:
        ``name``, ``description`` (None without a docstring), ``methods`` that can learn from it,
        ``parameters`` (``name``, ``required``, ``default``, ``description``), and ``problem``: why
        it cannot be used, else None.
    """
    from macrodyn.systems import available_systems

    for name in sorted(available_systems()):
        try:
            yield _described(name)
        except Exception as error:  # a system's own code may raise anything
            problem = f"{type(error).__name__}: {error}"
            yield {
                "name": name,
                "description": None,
                "methods": [],
                "parameters": [],
                "problem": problem,
            }


def _described(name: str) -> dict[str, Any]:
    from macrodyn.methods.registry import BUILT_IN, find_method
    from macrodyn.systems import system_class

    cls = system_class(name)
    lines = (cls.__doc__ or "").strip().splitlines()
    return {
        "name": name,
        "description": lines[0] if lines else None,
        "methods": [m for m in BUILT_IN if issubclass(cls, find_method(m).System)],
        "parameters": [
            {
                "name": field,
                "required": info.is_required(),
                "default": None if info.is_required() else info.default,
                "description": info.description or "",
            }
            for field, info in cls.Parameters.model_fields.items()
        ],
        "problem": None,
    }


def system_lines(system: Mapping[str, Any]) -> Iterator[str]:
    """Write what `described_systems` says of a system.

    Args:
        system: The system.
    """
    name = system["name"]
    if system["problem"]:
        yield f"{name}: cannot be used ({system['problem']})"
        return
    yield f"{name}: {system['description'] or '(its class has no docstring)'}"
    if system["methods"]:
        yield f"  for method: {', '.join(system['methods'])}"
    for item in system["parameters"]:
        default = "required" if item["required"] else f"default {item['default']!r}"
        yield f"  {item['name']} ({default}): {item['description']}"
