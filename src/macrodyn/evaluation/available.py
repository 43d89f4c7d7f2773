"""What an evaluation could find out, and in words why it could not find out the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

__all__ = ["Findings", "Unavailable"]

T = TypeVar("T")

_RELATIVE_TO_NOTHING = "0/0: there is nothing that it could be relative to"


class Unavailable(ValueError):
    """A measure that these data cannot give; the message says why, in a user's words.

    It is for what honest data may lack: a spread, enough groups, enough samples in a bin. What only
    a wrong call can cause is a ValueError or a TypeError of its own and stops the evaluation.
    """


class Findings:
    """Collects the reasons for which measures are missing, by their dotted path in the metrics.

    Args:
        path: Keys of the part of the metrics that is being found.
        reasons: Where to collect; a new collection if left out.

    Attributes:
        reasons: Why a measure is missing, by its dotted path.
    """

    def __init__(self, *path: str, reasons: dict[str, str] | None = None) -> None:
        self._path = path
        self.reasons: dict[str, str] = {} if reasons is None else reasons

    def below(self, *keys: str) -> Findings:
        """Return the findings of a part of the metrics; its reasons are collected here as well."""
        return Findings(*self._path, *keys, reasons=self.reasons)

    def attempt(self, key: str, make: Callable[[], T]) -> T | None:
        """Make a measure, or note why there is none.

        Args:
            key: Its key, dotted where it stands deeper; empty for all of this part.
            make: Makes it; only `Unavailable` is caught.

        Returns:
            The measure, or None.
        """
        try:
            return make()
        except Unavailable as reason:
            self.lack(key, str(reason))
            return None

    def lack(self, key: str, reason: str) -> None:
        """Note why a measure is missing."""
        self.reasons[self._at(key)] = reason

    def lack_all(self, reasons: Mapping[str, str]) -> None:
        """Note why several measures are missing, by their keys."""
        for key, reason in reasons.items():
            self.lack(key, reason)

    def demand(self, key: str, value: T | None) -> T:
        """Return a measure that `attempt` made.

        Raises:
            Unavailable: If there is none, with the reason.
        """
        if value is None:
            raise Unavailable(self.reasons[self._at(key)])
        return value

    def explain(self, metrics: Any, reason: str = _RELATIVE_TO_NOTHING) -> None:
        """Give a reason to every undefined number of some metrics that has none yet.

        Args:
            metrics: Plain values, mappings and lists of them; undefined are NaN and None.
            reason: The reason.
        """
        for path in _undefined(metrics, self._path):
            known = (".".join(path[:end]) in self.reasons for end in range(1, len(path) + 1))
            if not any(known):
                self.reasons[".".join(path)] = reason

    def _at(self, key: str) -> str:
        return ".".join((*self._path, key) if key else self._path)


def _undefined(value: Any, path: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Paths of all values that are None or not a number."""
    if isinstance(value, Mapping):
        parts = [(str(key), part) for key, part in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(str(place), part) for place, part in enumerate(value)]
    else:
        undefined = value is None or (isinstance(value, float) and math.isnan(value))
        return [path] if undefined else []
    return [found for key, part in parts for found in _undefined(part, (*path, key))]
