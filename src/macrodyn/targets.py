"""Functions and classes that are named as ``module:name``, imported where they are needed."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import Any


def import_named(module: str) -> ModuleType:
    """Import a module that a configuration names: an installed one, or one in this folder.

    The folder comes last, so that a file in it never stands for a module that is installed.

    Raises:
        Exception: Whatever the module raises while it is imported.
    """
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    return import_module(module)


def load_target(target: str) -> Any:
    """Import a function or a class.

    Args:
        target: ``module:name``.

    Raises:
        ImportError: If there is none; the message says what is missing.
    """
    module, _, name = target.partition(":")
    try:
        return getattr(import_named(module), name)
    except (ImportError, AttributeError) as error:
        raise ImportError(f"cannot load {target}: {error}") from error
