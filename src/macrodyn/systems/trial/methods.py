"""Try the methods of a microscopic system on a few small states, as the stages will call them."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import astuple
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from macrodyn.lattice import PatchGeometry, Shape, Surroundings, Tiling, gather
from macrodyn.streams import seeds
from macrodyn.systems.patch_system import PatchSystem
from macrodyn.systems.registry import describe_error
from macrodyn.systems.trial.case import Case
from macrodyn.systems.trial.identities import Moved, broken_identity, tiled, trial_lattice
from macrodyn.systems.windows import cut_windows


class _FailedError(Exception):
    """A method did not give what it should; it is noted."""


class Trial:
    """Calls of a system's methods, and what was wrong with them.

    Attributes:
        system: The system.
        wrong: What was wrong, in order.
    """

    def __init__(self, system: PatchSystem) -> None:
        self.system = system
        self.wrong: list[str] = []
        self._raised: set[str] = set()

    def run(self, case: Case) -> list[str]:
        """Call the methods, but for those that need what another one failed to give.

        States evolve for the study's own dt: in a shorter time a method that changes its input
        might have nothing to change.

        Args:
            case: What they are tried on; its sizes and macrostates fit the system.

        Returns:
            What was wrong with them.
        """
        system, small = self.system, case.small
        observables = len(system.observables)
        # One state more than observables, so that no wrong shape looks like a right one.
        number = observables + 1
        states = self._states(case, number)
        if states is None:
            return self.wrong
        keys, duration = seeds(0, "check", index=number), case.duration
        after = self.call("evolve", states, duration, keys)
        if self.check("evolve", after, states.shape, system.dtype):
            self._check_species("evolve", after)
            self._check_alone("evolve", after, states[-1:], duration, keys[-1:])
        values = self.call("observe", states)
        if self.check("observe", values, (number, observables)):
            self._check_bounds(values)
            self._check_exact(values, small)
        self._check_patches(case, states)
        self._check_labels()
        return self.wrong

    def _states(self, case: Case, number: int) -> NDArray | None:
        """Draw states of macrostates inside the study's ranges; None if they cannot be used."""
        system, small = self.system, case.small
        low, high = np.array(case.ranges, dtype=float).T
        parts = np.linspace(0, 1, number + 2)[1:-1, None]
        keys = seeds(0, "check", index=number)
        macrostates = low + parts * (high - low)
        states = self.call("initial_states", macrostates, small, keys)
        shape = (number, system.channels, *small)
        if not self.check("initial_states", states, shape, system.dtype):
            return None
        self._check_alone("initial_states", states, macrostates[-1:], small, keys[-1:])
        if system.kind == "spin" and not np.isin(states, (-1, 1)).all():
            self.wrong.append("initial_states gives spins that are neither -1 nor +1")
        if not self._check_species("initial_states", states):
            return None
        return np.ascontiguousarray(states)

    def _check_species(self, method: str, states: NDArray) -> bool:
        """Check that sites hold the species that there are."""
        number = self.system.species
        right = self.system.kind != "species" or (states.min() >= 0 and states.max() < number)
        if not right:
            self.wrong.append(
                f"{method} gives species from {states.min()} to {states.max()}, but there are "
                f"{number}: number them 0 to {number - 1}"
            )
        return bool(right)

    def _check_bounds(self, values: NDArray[np.float64]) -> None:
        columns = zip(self.system.observable_names, self.system.bounds, values.T, strict=True)
        for name, (low, high), column in columns:
            slack = 1e-6 * float(np.abs(column).max())
            if column.min() < low - slack or column.max() > high + slack:
                self.wrong.append(
                    f"observe gives {name} from {column.min():.4g} to {column.max():.4g}, outside "
                    f"its bounds ({low}, {high}), at which predictions are cut off"
                )

    def _check_exact(self, values: NDArray[np.float64], small: Shape) -> None:
        moments = self.call("exact_moments", values, small)
        if moments is None:
            return
        if not isinstance(moments, tuple) or len(moments) != 2:
            self.wrong.append("exact_moments does not return a pair (drift, covariance), or None")
            return
        for part, value, rank in zip(("drift", "covariance"), moments, (1, 2), strict=True):
            shape = (len(values), *[values.shape[1]] * rank)
            self.check(f"exact_moments ({part})", value, shape, finite=False)

    def _check_patches(self, case: Case, states: NDArray) -> None:
        """Evolve and measure patches, two of each state, cut out as for the study's pairs."""
        system, sides = self.system, case.patch
        if Tiling(case.large, sides).number == 1:
            return  # the study evolves no patches
        patch = PatchGeometry(sides, system.halo, case.buffer, case.boundary)
        lattice = trial_lattice(patch, case.large)
        states = tiled(states, lattice)
        # The first and the last patch; where the lattice has ends, they are at both.
        origins = Tiling(lattice, sides).origins()[[0, -1]]
        if patch.boundary == "frozen":
            cut = gather(states, origins - patch.margin, patch.window, system.periodic)
            moving: tuple[Any, ...] = (..., *patch.moving)
            rest = self.call("rest", states, cut[moving])
            if self.failed("rest"):
                return
            if rest is not None and np.shape(rest)[:2] != (len(states), 2):
                self.wrong.append(
                    f"rest returns shape {np.shape(rest)} for {len(states)} states with 2 patches "
                    "each: it should be (state, patch, quantity)"
                )
                return
        windows, around = cut_windows(system, states, origins, patch)
        keys = seeds(0, "check patches", index=len(windows))
        events = math.prod(sides) if case.events else None
        result = self.call(
            "evolve_patch", windows, patch, case.duration, keys, events, around=around
        )
        measured = self.call("observe_patch", patch.cut(windows))
        size = (len(windows), len(system.observables))
        self.check("observe_patch", measured, size)
        if self.failed("evolve_patch"):
            return
        if not isinstance(result, tuple) or len(result) != 2:
            self.wrong.append("evolve_patch does not return a pair (windows, elapsed times)")
            return
        after, elapsed = result
        timed = self.check("evolve_patch (elapsed times)", elapsed, (len(windows),))
        if not self.check("evolve_patch", after, windows.shape, system.dtype):
            return
        frozen = _frozen_sites(patch, around.outside)
        if (np.moveaxis(after != windows, 1, -1) & frozen[..., None]).any():
            self.wrong.append(
                "evolve_patch changes the frozen halo: only the part of a window that "
                "patch.moving cuts out evolves"
            )
        if timed:
            alone = Surroundings(*(None if part is None else part[-1:] for part in astuple(around)))
            arguments = windows[-1:], patch, case.duration, keys[-1:], events, alone
            self._check_alone("evolve_patch", result, *arguments)
        increment = self.call("observable_increment", windows, after, patch, around)
        if self.check("observable_increment", increment, size) and not self.wrong:
            moved = Moved(states, origins, patch, windows, after, around)
            with suppress(_FailedError):
                broken = broken_identity(system, moved, self._measure)
                self.wrong += [broken] if broken else []

    def _measure(self, method: str, *arguments: Any) -> NDArray[np.float64]:
        """Call a method that measures; note what is wrong with the result, and give up."""
        values = self.call(method, *arguments)
        size = (len(arguments[0]), len(self.system.observables))
        if not self.check(method, values, size):
            raise _FailedError
        return values

    def _check_alone(self, method: str, together: Any, *arguments: Any) -> None:
        """Compare the last state of a batch with what it becomes without the others."""
        alone = self.call(method, *arguments)
        if self.failed(method):
            return
        pairs = zip(_arrays(alone), _arrays(together), strict=False)
        if not all(np.array_equal(one, several[-1:]) for one, several in pairs):
            self.wrong.append(
                f"{method} makes something else of the same state and seed when it is alone than "
                "in a batch: derive every random number from the state's own seed"
            )

    def _check_labels(self) -> None:
        """Read the labels as figures do, at the very end of a study."""
        from matplotlib.mathtext import MathTextParser

        for name, text in self.system.labels.items():
            try:
                MathTextParser("path").parse(text)
            except ValueError as error:
                self.wrong.append(f"the label of {name} cannot be drawn: {error}")

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
            self._note(f"{method} raises {describe_error(error, module)}")
            return None
        pairs = zip(arguments, given, strict=True)
        if any(isinstance(a, np.ndarray) and not np.array_equal(a, b) for a, b in pairs):
            self._note(
                f"{method} changes an array that it is given: work on a copy, or differences "
                "between before and after are lost"
            )
        return result

    def _note(self, message: str) -> None:
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


def _arrays(result: Any) -> tuple[NDArray, ...]:
    return result if isinstance(result, tuple) else (result,)


def _frozen_sites(patch: PatchGeometry, outside: NDArray[np.int64] | None) -> NDArray[np.bool_]:
    """Sites of windows that must not change; what lies beyond the ends of a lattice may.

    Args:
        patch: Geometry of the windows.
        outside: Sites beyond the ends, [batch, dimension, 2].

    Returns:
        Shape [batch, *patch.window], or [1, *patch.window] where nothing lies beyond an end.
    """
    frozen = np.ones((1 if outside is None else len(outside), *patch.window), dtype=bool)
    moving: tuple[Any, ...] = (..., *patch.moving)
    frozen[moving] = False
    for window, ends in zip(frozen, () if outside is None else outside, strict=False):
        for axis, (low, high) in enumerate(ends):
            along = np.moveaxis(window, axis, 0)
            along[:low] = False
            along[len(along) - high :] = False
    return frozen
