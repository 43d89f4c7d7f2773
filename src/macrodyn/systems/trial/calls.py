"""Calls of a system's methods on trial: what they raise, change and return is noted."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from macrodyn.lattice import Surroundings
from macrodyn.systems.registry import describe_error


class FailedError(Exception):
    """A method did not give what it should; it is noted."""


class Calls:
    """Calls of a system's methods, and what was wrong with them.

    Attributes:
        system: The system.
        wrong: What was wrong, in order.
    """

    def __init__(self, system: Any) -> None:
        self.system = system
        self.wrong: list[str] = []
        self._raised: set[str] = set()

    def failed(self, method: str) -> bool:
        """Whether a method raised an error."""
        return method in self._raised

    def call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Call a method with copies; note an error, and arrays that it changed.

        Returns:
            What it returns; None where it raised an error.
        """
        given = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
        try:
            result = getattr(self.system, method)(*given, **named)
        except Exception as error:  # own code may raise anything
            module = type(self.system).__module__
            self._raised.add(method)
            self.note(f"{method} raises {describe_error(error, module)}")
            return None
        pairs = zip(arguments, given, strict=True)
        if any(isinstance(a, np.ndarray) and not np.array_equal(a, b) for a, b in pairs):
            self.note(
                f"{method} changes an array that it is given: work on a copy, or differences "
                "between before and after are lost"
            )
        return result

    def note(self, message: str) -> None:
        """Note something that may show in several calls of a method, once."""
        if message not in self.wrong:
            self.wrong.append(message)

    def check(
        self,
        method: str,
        value: Any,
        shape: tuple[int, ...],
        dtype: DTypeLike | None = None,
        *,
        finite: bool = True,
    ) -> bool:
        """Note whether a method that raised no error returned an array such as it should.

        Args:
            method: The method, maybe with what of its result it is.
            value: What it returned.
            shape: The shape that is needed.
            dtype: The type that is needed; any numbers if left out.
            finite: Whether NaN and infinity are wrong.
        """
        if self.failed(method):
            return False
        if not isinstance(value, np.ndarray):
            problem = f"returns {type(value).__name__}: it should be a NumPy array"
        elif value.shape != shape:
            problem = f"returns shape {value.shape}: it should be {shape}"
        elif dtype is not None and value.dtype != np.dtype(dtype):
            problem = f"returns {value.dtype}: it should be {np.dtype(dtype)}, the dtype it says"
        elif value.dtype.kind not in "iuf":
            problem = f"returns {value.dtype}: it should be numbers"
        elif finite and not np.isfinite(value).all():
            problem = "returns numbers that are not finite"
        else:
            return True
        self.wrong.append(f"{method} {problem}")
        return False

    def measure(self, method: str, *arguments: Any) -> NDArray[np.float64]:
        """Call a method that measures; note what is wrong with the result, and give up."""
        values = self.call(method, *arguments)
        size = (len(arguments[0]), len(self.system.observables))
        if not self.check(method, values, size):
            raise FailedError
        return values

    def check_alone(
        self,
        method: str,
        together: Any,
        *arguments: Any,
        hint: str = "derive every random number from the state's own seed",
    ) -> None:
        """Compare the last state of a batch with what it becomes without the others."""
        alone = self.call(method, *arguments)
        if self.failed(method):
            return
        pairs = zip(_arrays(alone), _arrays(together), strict=False)
        if not all(np.array_equal(one, several[-1:]) for one, several in pairs):
            self.wrong.append(
                f"{method} makes something else of the same state and seed when it is alone than "
                f"in a batch: {hint}"
            )


def _arrays(result: Any) -> tuple[NDArray, ...]:
    return result if isinstance(result, tuple) else (result,)


def last(around: Surroundings) -> Surroundings:
    """What surrounds the last of several windows."""
    return Surroundings(*(None if part is None else part[-1:] for part in astuple(around)))
