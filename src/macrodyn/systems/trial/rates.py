"""Tell right expected rates of a microscopic system from wrong ones.

Three statements hold whatever the physics is:

| of                    | what must hold                                                   |
|-----------------------|------------------------------------------------------------------|
| all K patches         | the mean of their rates is that of the whole: to rounding        |
| paths from one state  | mean increment = mean integral of the rates, for any duration    |
| noise of the sites    | zero on average, and everywhere where no site evolves            |

The first finds pairs across the edge that are dropped and buffers that are counted, the second a
wrong sign, factor or term: as far as the paths' scatter tells, beyond 5 % (integrators have finite
steps) and what Simpson's rule on four parts differs by from that on two.

Source of the second: Dynkin's formula.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrodyn.lattice import Boundary, PatchGeometry, Shape, Surroundings, Tiling
from macrodyn.streams import Seeds, seeds, substreams
from macrodyn.systems.patch_system import PatchSystem
from macrodyn.systems.trial.calls import Calls, FailedError, last
from macrodyn.systems.trial.identities import Moved
from macrodyn.systems.trial.paths import Paths
from macrodyn.systems.windows import cut_windows

Floats = NDArray[np.float64]
Integrals = tuple[NDArray, Floats, Floats]
"""Windows afterwards; the rates' integral and its error, [batch, observable]."""
Integrate = Callable[[NDArray, Seeds, Surroundings], Integrals]

REPLICAS = 32  # paths from each state at once
ROUNDS = 32
SECONDS = 3.0  # after which no further round begins
WHERE = "docs/own-system.md#expected-rates"


def check_rates(calls: Calls, moved: Moved, duration: float) -> None:
    """Compare expected rates, and compensators of the system's own, with increments.

    Args:
        calls: Calls of the system's methods, which note what is wrong.
        moved: Patches of states.
        duration: Time for which paths evolve.

    Raises:
        FailedError: If a method fails; it is noted.
    """
    system, patch, windows = calls.system, moved.patch, moved.windows
    rates = calls.measure("expected_rates", windows, patch, moved.around)
    one, alone = windows[-1:], last(moved.around)
    hint = "the rates of a window depend on it and its surroundings alone"
    calls.check_alone("expected_rates", rates, one, patch, alone, hint=hint)
    integrate, what = _by_rates(calls, patch, duration), "expected_rates"
    broken = None if calls.wrong else broken_sum(calls, moved)
    if not (calls.wrong or broken):
        broken = broken_mean(calls, moved, integrate, what)
    own = type(system).evolve_compensated is not PatchSystem.evolve_compensated
    if own and not (calls.wrong or broken):
        keys, what = seeds(0, "check compensated", index=len(windows)), "evolve_compensated"
        integrate = _by_itself(calls, patch, duration)
        after, integral, _ = integrate(windows, keys, moved.around)
        calls.check_alone(what, (after, integral), one, patch, duration, keys[-1:], alone)
        broken = None if calls.wrong else broken_mean(calls, moved, integrate, what)
    if system.knows_noise and not (calls.wrong or broken):
        broken = broken_noise(calls, moved, duration)
    if broken:
        calls.note(broken)


def broken_sum(calls: Calls, moved: Moved) -> str | None:
    """Compare the rates of all patches of a tiling with those of the whole.

    Args:
        calls: Calls of the system's methods.
        moved: Patches of states.

    Returns:
        What is wrong, with what to do; None if nothing is, or where patches are systems of their
        own.
    """
    system, patch, states = calls.system, moved.patch, moved.states
    if patch.boundary == "periodic":
        return None
    lattice: Shape = states.shape[2:]
    tiling = Tiling(lattice, patch.shape, system.periodic)
    windows, around = cut_windows(system, states, tiling.origins(), patch)
    each = calls.measure("expected_rates", windows, patch, around)
    found = each.reshape(len(states), tiling.number, -1).mean(axis=1)
    boundary: Boundary = "periodic" if system.periodic else "frozen"
    whole = PatchGeometry(lattice, system.halo, boundary=boundary)
    origin = np.zeros((1, len(lattice)), dtype=np.int64)
    windows, around = cut_windows(system, states, origin, whole)
    expected = calls.measure("expected_rates", windows, whole, around)
    error = np.abs(found - expected)
    room = _rounding(states, each) * np.maximum(np.abs(each).max(axis=0), np.abs(expected).max(0))
    wrong = np.flatnonzero((error > room).any(axis=0))
    if not len(wrong):
        return None
    column = wrong[0]
    row = int(error[:, column].argmax())
    return (
        f"expected_rates gives {found[row, column]:.4g} for {_names(system, wrong)} as the mean of "
        f"all K = {tiling.number} patches, but {expected[row, column]:.4g} for the whole as one "
        f"{boundary} patch: what crosses a patch's edge counts in full, for its own sites, and "
        f"those of a buffer do not count ({WHERE})"
    )


def broken_mean(calls: Calls, moved: Moved, integrate: Integrate, what: str) -> str | None:
    """Compare mean increments with the mean integral of the rates over paths from few states.

    Args:
        calls: Calls of the system's methods.
        moved: Patches of states; the paths begin at the windows before.
        integrate: Evolves windows and integrates their rates.
        what: The method that is tried, for the message.

    Returns:
        What is wrong; None if nothing is.
    """
    system, patch, number = calls.system, moved.patch, len(moved.windows)
    windows, around, keys = _replicas(moved, "check rates")
    paths, until = Paths(number, len(system.observables)), time.monotonic() + SECONDS
    for turn in range(ROUNDS):
        after, integral, error = integrate(windows, substreams(keys, turn), around)
        increment = calls.measure("observable_increment", windows, after, patch, around)
        paths.add(increment, integral, error)
        if paths.are_enough() or time.monotonic() > until:
            break
    scale = np.abs(calls.measure("observe_patch", patch.cut(moved.windows))).max(axis=0)
    rounding = _rounding(moved.states, paths.increment)
    wrong, row = paths.differing(rounding * (scale + np.abs(paths.increment).max(axis=0)))
    if not len(wrong):
        return None
    column = wrong[0]
    found, expected = paths.increment[row, column], paths.integral[row, column]
    opposite = abs(found + expected) < 0.2 * abs(found - expected)
    hint = "the sign is wrong" if opposite else "sum over the patch's sites, divide by their number"
    return (
        f"{what} adds up to {expected:.4g} for {_names(system, wrong)} along paths from one "
        f"state, but observable_increment is {found:.4g} +- {paths.scatter[row, column]:.2g} on "
        f"average over {paths.number} of them: {hint} ({WHERE})"
    )


def broken_noise(calls: Calls, moved: Moved, duration: float) -> str | None:
    """Compare `evolve_driven` with `evolve_compensated`, and its noise with what must hold of it.

    Args:
        calls: Calls of the system's methods.
        moved: Patches of states.
        duration: Time for which they evolve.

    Returns:
        What is wrong; None if nothing is.

    Raises:
        FailedError: If a method fails; it is noted.
    """
    method, patch = "evolve_driven", moved.patch
    windows, around, keys = _replicas(moved, "check driven")
    result = calls.call(method, windows, patch, duration, keys, around)
    if calls.failed(method):
        raise FailedError
    if not isinstance(result, tuple) or len(result) != 3:
        calls.note(f"{method} does not return three arrays (windows, compensators, noise)")
        raise FailedError
    after, integral, noise = result
    plain = calls.call("evolve_compensated", windows, patch, duration, keys, around)
    if calls.failed("evolve_compensated"):
        raise FailedError
    if not (np.array_equal(after, plain[0]) and np.array_equal(integral, plain[1])):
        return f"{method} gives other windows or compensators than evolve_compensated ({WHERE})"
    if not calls.check(f"{method} (noise)", noise, windows.shape):
        raise FailedError
    moving: tuple[Any, ...] = (..., *patch.moving)
    still = noise.copy()
    still[moving] = 0
    inside = moved.around.outside is None
    if inside and still.any():
        return f"{method} tells noise of sites of the halo, which do not evolve ({WHERE})"
    means = noise[moving].reshape(len(windows), -1).mean(axis=1)
    error = means.std() / math.sqrt(len(means))
    if abs(means.mean()) > 6.0 * error:
        return (
            f"{method} tells noise whose mean is {means.mean():.3g} +- {error:.2g}: given the "
            f"windows before, it and its negative must be equally likely ({WHERE})"
        )
    return None


def _by_rates(calls: Calls, patch: PatchGeometry, duration: float) -> Integrate:
    """Evolve by `evolve_patch`, and integrate `expected_rates` on the way by Simpson's rule."""

    def integrate(windows: NDArray, keys: Seeds, around: Surroundings) -> Integrals:
        now, rates = windows, [calls.measure("expected_rates", windows, patch, around)]
        for part in range(4):
            drawn = substreams(keys, part)
            moved = calls.call("evolve_patch", now, patch, duration / 4, drawn, around=around)
            if calls.failed("evolve_patch"):
                raise FailedError
            now = moved[0]
            rates.append(calls.measure("expected_rates", now, patch, around))
        coarse = duration / 6 * (rates[0] + 4 * rates[2] + rates[4])
        fine = duration / 12 * (rates[0] + 4 * rates[1] + 2 * rates[2] + 4 * rates[3] + rates[4])
        return now, fine, fine - coarse

    return integrate


def _by_itself(calls: Calls, patch: PatchGeometry, duration: float) -> Integrate:
    """Evolve and integrate by `evolve_compensated`; note what is wrong with it, and give up."""
    method, system = "evolve_compensated", calls.system

    def integrate(windows: NDArray, keys: Seeds, around: Surroundings) -> Integrals:
        result = calls.call(method, windows, patch, duration, keys, around)
        if calls.failed(method):
            raise FailedError
        if not isinstance(result, tuple) or len(result) != 2:
            calls.note(f"{method} does not return a pair (windows, compensators)")
            raise FailedError
        after, integral = result
        size = (len(windows), len(system.observables))
        right = calls.check(method, after, windows.shape, system.dtype)
        if not (right and calls.check(f"{method} (compensators)", integral, size)):
            raise FailedError
        return after, integral, np.zeros_like(integral)

    return integrate


def _replicas(moved: Moved, purpose: str) -> tuple[NDArray, Surroundings, Seeds]:
    """Each window before, several times, with its surroundings and a stream for each."""
    windows = moved.windows.repeat(REPLICAS, axis=0)
    around = Surroundings(*(_repeated(p) for p in (moved.around.outside, moved.around.rest)))
    return windows, around, seeds(0, purpose, index=len(windows))


def _repeated(part: NDArray | None) -> NDArray | None:
    return None if part is None else part.repeat(REPLICAS, axis=0)


def _rounding(states: NDArray, values: Floats) -> float:
    """Relative rounding error of means of local terms."""
    single = states.dtype.kind == "f" and states.dtype.itemsize < 8
    return 1e-5 if single or values.dtype.itemsize < 8 else 1e-9


def _names(system: PatchSystem, columns: NDArray[np.intp]) -> str:
    return " and ".join(system.observable_names[column] for column in columns)
