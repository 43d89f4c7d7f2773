"""Functions of the package that write down how they are called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

Calls = list[SimpleNamespace]
# Makes another function of a function.
Fake = Callable[[Callable[..., Any]], Callable[..., Any]]


class ReachedError(BaseException):
    """All functions of interest have been called."""


@contextmanager
def spying(
    targets: Sequence[str], fakes: Mapping[str, Fake], *, stop: bool
) -> Iterator[dict[str, Calls]]:
    """Write down each call of some functions: its arguments by name, and its ``result``.

    Args:
        targets: The functions, as ``module:name``, ``module:Class.method`` or
            ``module:DICTIONARY.key``, at the place from which they are called.
        fakes: What to make of some functions first, by their place.
        stop: Raise `ReachedError` in place of the call by which all of them have been called.

    Yields:
        The calls, by the last part of each function's name.
    """
    calls: dict[str, Calls] = {target.rpartition(":")[2].split(".")[-1]: [] for target in targets}
    with pytest.MonkeyPatch.context() as patch:
        for target, fake in fakes.items():
            _replace(patch, target, fake)
        for target in targets:
            name = target.rpartition(":")[2].split(".")[-1]
            _replace(
                patch, target, lambda original, n=name: _recorded(original, n, calls, stop=stop)
            )
        yield calls


def _replace(patch: pytest.MonkeyPatch, target: str, make: Fake) -> None:
    module, _, path = target.partition(":")
    *way, name = path.split(".")
    holder: Any = import_module(module)
    for part in way:
        holder = getattr(holder, part)
    if isinstance(holder, dict):
        patch.setitem(holder, name, make(holder[name]))
    else:
        patch.setattr(holder, name, make(getattr(holder, name)))


def _recorded(
    original: Callable[..., Any], name: str, calls: dict[str, Calls], *, stop: bool
) -> Callable[..., Any]:
    try:
        signature = inspect.signature(original)
    except ValueError:  # compiled: its arguments have no names
        signature = inspect.signature(lambda *args, **kwargs: None)

    @wraps(original, updated=())
    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        made = SimpleNamespace(**bound.arguments)
        calls[name].append(made)
        if stop and all(calls.values()):
            raise ReachedError
        made.result = original(*args, **kwargs)
        return made.result

    return call
