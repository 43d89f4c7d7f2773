"""Functions and classes that are named as ``module:name``, imported where they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def load_target(target: str) -> Any:
    """Import a function or a class.

    Args:
        target: ``module:name``.

    Raises:
        ImportError: If there is none; the message says what is missing.
    """
    module, _, name = target.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ImportError(f"cannot load {target}: {error}") from error
