"""Exact identities that tell right increments of a microscopic system from wrong ones.

They hold to rounding for every system whose observables are means of local terms, whatever its
physics is:

| what moves           | observable_increment                                     |
|----------------------|----------------------------------------------------------|
| one of K patches     | K (observe(state afterwards) - observe(state))           |
| its buffer alone     | 0: these moves belong to other patches                   |
| a periodic patch     | observe(patch afterwards) - observe(patch)               |

A patch-local average, a forgotten K, or an observable such as a variance or a maximum of the whole
breaks them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrodyn.lattice import PatchGeometry, Shape, Surroundings, Tiling, gather, scatter
from macrodyn.systems.patch_system import PatchSystem

Floats = NDArray[np.float64]
Measure = Callable[..., Any]


@dataclass(frozen=True)
class Moved:
    """Patches of states before and after they have evolved.

    Attributes:
        states: States, shape [batch, channel, *lattice].
        origins: First sites of M patches, the same of every state, shape [M, dimension].
        patch: Their geometry.
        windows: Their windows, shape [batch * M, channel, *patch.window], those of a state side by
            side.
        after: The windows afterwards.
        around: What surrounds them.
    """

    states: NDArray
    origins: NDArray[np.int64]
    patch: PatchGeometry
    windows: NDArray
    after: NDArray
    around: Surroundings


def trial_lattice(patch: PatchGeometry, large: Shape) -> Shape:
    """Smallest lattice of whole patches, no larger than the large one, that windows fit into."""
    counts = Tiling(large, patch.shape).counts
    return tuple(
        side * min(count, max(2, -(-width // side)))
        for side, count, width in zip(patch.shape, counts, patch.window, strict=True)
    )


def tiled(states: NDArray, lattice: Shape) -> NDArray:
    """Repeat states along every axis, and cut them off, so that they fill a lattice."""
    repeats = [-(-n // side) for n, side in zip(lattice, states.shape[2:], strict=True)]
    index: tuple[Any, ...] = (..., *(slice(n) for n in lattice))
    return np.ascontiguousarray(np.tile(states, (1, 1, *repeats))[index])


def broken_identity(system: PatchSystem, moved: Moved, call: Measure) -> str | None:
    """Find out whether the increments of patches break an identity.

    Args:
        system: The system.
        moved: Patches before and after.
        call: Calls a method of the system by its name.

    Returns:
        What is wrong, with what to do; None if nothing is.
    """
    if moved.patch.boundary == "periodic":
        return _broken_alone(system, moved, call)
    number = len(moved.origins)
    cores = moved.patch.cut(moved.windows)
    by_state = cores.reshape(-1, number, *cores.shape[1:])
    # Content of another macrostate, beside what evolution gives: in a short time little moves.
    foreign = np.roll(by_state, 1, axis=0)[:, ::-1].reshape(cores.shape)
    for contents in (foreign, moved.patch.cut(moved.after)):
        wrong = _broken_whole(system, moved, contents, call)
        if wrong is not None:
            return wrong
    return _broken_buffer(system, moved, call)


def _broken_whole(system: PatchSystem, moved: Moved, cores: NDArray, call: Measure) -> str | None:
    """Compare the increments of one patch with K times what its moves change of the whole."""
    patch, states, origins = moved.patch, moved.states, moved.origins
    number, total = len(origins), Tiling(states.shape[2:], patch.shape).number
    replaced = np.repeat(states[:, None], number, axis=1)
    windows = []
    for j, origin in enumerate(origins):
        one = np.ascontiguousarray(replaced[:, j])
        blocks = cores.reshape(-1, number, *cores.shape[1:])[:, j, None]
        scatter(one, origin[None], blocks, system.periodic)
        replaced[:, j] = one
        windows.append(gather(one, origin[None] - patch.margin, patch.window, system.periodic))
    after = np.concatenate(windows, axis=1).reshape(moved.windows.shape)
    found = call("observable_increment", moved.windows, after, patch, moved.around)
    before = np.repeat(call("observe", states), number, axis=0)
    whole = call("observe", replaced.reshape(-1, *states.shape[1:]))
    scale = total * np.abs(before).max(axis=0)
    wrong = _differing(system, found, total * (whole - before), scale, states.dtype)
    if wrong is None:
        return None
    names, given, expected = wrong
    wide = _not_additive(system, states, patch, call)
    if wide:
        return _not_local(wide)
    return (
        f"observable_increment gives {given:.4g} for {names} where one of K = {total} patches has "
        f"moved, but K (observe(after) - observe(before)) of the whole is {expected:.4g}: count "
        "what crosses the patch's edge in full, and divide by the sites of the patch"
    )


def _broken_buffer(system: PatchSystem, moved: Moved, call: Measure) -> str | None:
    """Let the buffers move alone: no observable may change by that."""
    patch = moved.patch
    if patch.buffer == 0:
        return None
    kept = np.zeros((len(moved.windows), 1, *patch.window), dtype=bool)
    core: tuple[Any, ...] = (..., *patch.core)
    kept[core] = True
    if moved.around.outside is not None:
        for window, ends in zip(kept, moved.around.outside, strict=True):
            for axis, (low, high) in enumerate(ends, start=1):
                along = np.moveaxis(window, axis, 0)
                along[:low] = True
                along[len(along) - high :] = True
    after = np.where(kept, moved.windows, moved.after)
    found = call("observable_increment", moved.windows, after, patch, moved.around)
    scale = np.abs(call("observe", moved.states)).max(axis=0)
    wrong = _differing(system, found, np.zeros_like(found), scale, moved.states.dtype)
    if wrong is None:
        return None
    return (
        f"observable_increment counts moves of the buffer for {wrong[0]} ({wrong[1]:.4g} where "
        "nothing else has moved): they belong to other patches, see PatchGeometry.attribute"
    )


def _broken_alone(system: PatchSystem, moved: Moved, call: Measure) -> str | None:
    """Compare the increments of periodic patches with their change as systems of their own."""
    if system.periodic:
        before, after = moved.windows, moved.after
        for later in (np.roll(before, 1, axis=0), after):
            found = call("observable_increment", before, later, moved.patch, moved.around)
            measured = call("observe", before)
            scale = np.abs(measured).max(axis=0)
            change = call("observe", later) - measured
            wrong = _differing(system, found, change, scale, before.dtype)
            if wrong is not None:
                return (
                    f"observable_increment gives {wrong[1]:.4g} for {wrong[0]} of a periodic "
                    f"patch, but observe(after) - observe(before) of it is {wrong[2]:.4g}: it is a "
                    "system of its own, wrapped onto itself"
                )
    wide = _not_additive(system, moved.states, moved.patch, call)
    return _not_local(wide) if wide else None


def _not_local(names: str) -> str:
    return (
        f"observe: {names} is no mean of local terms: what two distant patches change of it is not "
        "the sum of what each changes, so that a patch's increment says nothing of the whole's. "
        "Take such means as observables (docs/own-system.md)"
    )


def _not_additive(
    system: PatchSystem, states: NDArray, patch: PatchGeometry, call: Measure
) -> str | None:
    """Names of the observables that two patches, too far apart to interact, change jointly."""
    gap = max(1, -(-system.halo // patch.shape[0]))
    counts = (2 * (1 + gap), *(2 for _ in patch.shape[1:]))
    lattice = tuple(side * count for side, count in zip(patch.shape, counts, strict=True))
    start = tiled(states, lattice)
    near: tuple[Any, ...] = (..., *(slice(side) for side in patch.shape))
    first = (1 + gap) * patch.shape[0]
    far: tuple[Any, ...] = (..., slice(first, first + patch.shape[0]), *near[2:])
    other = np.roll(start, 1, axis=0)
    values = []
    for places in ((), (near,), (far,), (near, far)):
        changed = start.copy()
        for place in places:
            changed[place] = other[place]
        values.append(call("observe", changed))
    none, one, two, both = values
    scale = np.abs(none).max(axis=0)
    wrong = _differing(system, both - two, one - none, scale, states.dtype)
    return None if wrong is None else wrong[0]


def _differing(
    system: PatchSystem, found: Floats, expected: Floats, scale: Floats, dtype: np.dtype[Any]
) -> tuple[str, float, float] | None:
    """Names of the observables whose values differ by more than rounding, and the worst two."""
    single = (dtype.kind == "f" and dtype.itemsize < 8) or found.dtype.itemsize < 8
    room = (1e-6 if single else 1e-10) * (scale + np.abs(expected).max(axis=0))
    error = np.abs(found - expected)
    wrong = np.flatnonzero((error > room).any(axis=0))
    if not len(wrong):
        return None
    names = " and ".join(system.observable_names[column] for column in wrong)
    row = int(error[:, wrong[0]].argmax())
    return names, float(found[row, wrong[0]]), float(expected[row, wrong[0]])
