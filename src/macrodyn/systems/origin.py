"""Where a system's class comes from: for the provenance of what was made with it."""

from __future__ import annotations

import hashlib
import inspect
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

from macrodyn.systems.registry import BUILT_IN, available_systems, system_class


def system_origin(name: str) -> str:
    """Say which version of a system is installed.

    A version alone does not tell edited sources apart, so that an external system has the digest of
    its module's file beside it.

    Args:
        name: The name of its entry point, or ``module:Class``.

    Returns:
        Name and version of the distribution; of an external system also the file and the first
        digits of its SHA-256.

    Raises:
        UnknownSystemError: If there is no such system.
    """
    if name in BUILT_IN:
        return _release("macrodyn")
    cls = system_class(name)
    entry = available_systems().get(name)
    package = cls.__module__.partition(".")[0]
    names = [entry.dist.name] if entry and entry.dist else packages_distributions().get(package, [])
    parts = [_release(found) for found in dict.fromkeys(names)]
    try:
        file = Path(inspect.getfile(cls))
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        parts.append(f"{file.name} (SHA-256 {digest})")
    except (OSError, TypeError):
        parts.append(f"{cls.__module__}, whose file cannot be read")
    return ", ".join(parts)


def _release(distribution: str) -> str:
    try:
        return f"{distribution} {version(distribution)}"
    except PackageNotFoundError:
        return f"{distribution} (not installed as a package)"
