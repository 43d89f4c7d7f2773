"""Checks of the sizes of one run against each other, and of what is evolved against them.

Each check yields (key path, message) for what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

from macrodyn.lattice import PatchGeometry, Tiling, upsampling_levels
from macrodyn.methods.partial_evolution.chains import relaxed_lattices
from macrodyn.methods.partial_evolution.config import PartialEvolutionRun
from macrodyn.sampling.evolve import EVENTS_IN_BUFFER
from macrodyn.sampling.relax import relaxed_patch
from macrodyn.systems import PatchSystem


def check_sizes(run: PartialEvolutionRun, system: PatchSystem) -> Iterator[tuple[str, str]]:
    """Check the sizes against each other, and what is evolved against them."""
    sizes = {"small": run.sizes.small, "large": run.sizes.large, "patch": run.patch}
    sizes |= {f"train.{number}": size for number, size in enumerate(run.sizes.train)}
    given = [k for k in sizes if k != "patch" or run.sizes.patch]
    wrong = [k for k in given if len(sizes[k]) != system.dimension]
    for key in wrong:
        yield (
            f"sizes.{key}",
            f"{list(sizes[key])} has {len(sizes[key])} side(s), but {run.system.name} lives in "
            f"{system.dimension} dimension(s)",
        )
    if wrong:
        return
    for part in ("small", "patch"):
        try:
            Tiling(sizes["large"], sizes[part])
        except ValueError:
            key = part if part == "small" or run.sizes.patch else "small"
            yield (
                f"sizes.{key}",
                f"{list(sizes[part])} does not divide the large lattice {list(sizes['large'])}: "
                "every side must be a divisor",
            )
            return
    wrong_trained = list(_check_trained(run))
    yield from wrong_trained
    if wrong_trained:
        return
    if any(p > n for p, n in zip(sizes["patch"], sizes["small"], strict=True)):
        yield (
            "sizes.patch",
            f"{list(sizes['patch'])} is larger than the small lattice {list(sizes['small'])}: what "
            "is evolved must not be larger than what is simulated",
        )
        return
    levels = [] if run.upsample.chains else run.trained
    for level in (v for size in levels for v in upsampling_levels(sizes["small"], size)):
        if any(n % p for p, n in zip(sizes["patch"], level, strict=True)):
            yield (
                "sizes.patch",
                f"{list(sizes['patch'])} does not divide {list(level)}, a level between the small "
                "and the large lattice that is relaxed patch by patch: choose another patch",
            )
            return
    if run.evolve.boundary == "periodic" and run.buffer:
        yield "evolve.buffer", "a periodic patch has no surroundings: set it to 0"
        return
    yield from _check_windows(run, system)
    # Of a smaller size that is learned from as well, all are evolved where there are fewer.
    number = max(Tiling(size, sizes["patch"]).number for size in run.trained)
    if run.evolve.patches > number:
        yield (
            "evolve.patches",
            f"{run.evolve.patches} is more than the K = {number} patches there are",
        )


def _check_trained(run: PartialEvolutionRun) -> Iterator[tuple[str, str]]:
    """Check that the sizes that are learned from are made of small systems and of patches."""
    given = run.sizes.train
    for number, size in enumerate(given):
        key = f"sizes.train.{number}"
        if size in given[:number]:
            yield key, f"{list(size)} is there twice: give each size once"
            continue
        for what, part in {"small lattices": run.sizes.small, "patches": run.patch}.items():
            try:
                Tiling(size, part)
            except ValueError:
                told = f"{list(size)} is not made of whole {what} {list(part)}"
                yield key, f"{told}: every side must be a multiple"
                break


def _check_windows(run: PartialEvolutionRun, system: PatchSystem) -> Iterator[tuple[str, str]]:
    """Check that what surrounds a patch is not the patch itself, nor another one that moves."""
    evolve, relaxation = run.evolve, run.upsample.relaxation
    size = "sizes.patch" if run.sizes.patch else "sizes.small"
    in_parts = [shape for shape in run.trained if Tiling(shape, run.patch).number > 1]
    for lattice in in_parts:
        try:
            patch = PatchGeometry(run.patch, system.halo, run.buffer, evolve.boundary)
            patch.check(lattice, system.periodic)
        except ValueError as error:
            here = f" (on {list(lattice)} of sizes.train)" if run.sizes.train else ""
            yield "evolve.buffer" if run.buffer else size, f"{error}{here}"
            return
    frozen = in_parts and evolve.boundary == "frozen"
    if frozen and evolve.buffer != "auto" and run.buffer < system.least_buffer:
        yield (
            "evolve.buffer",
            f"{system.least_buffer} or more is needed, as sites exchange what they hold: across "
            "the edge of a patch without a buffer they would not",
        )
    if in_parts and run.buffer and evolve.stop == "events":
        yield "evolve.buffer", EVENTS_IN_BUFFER
    patch = PatchGeometry(run.patch, system.halo, boundary=relaxation.boundary)
    for level in relaxed_lattices(run):
        try:
            relaxed_patch(system, patch, level)
        except ValueError as error:
            yield size, str(error)
            return


def check_factor(run: PartialEvolutionRun) -> Iterator[tuple[str, str]]:
    """Check that the covariance factor can be had as it is asked for."""
    key, asked = "dynamics.covariance_factor", run.dynamics.covariance_factor
    totals = [Tiling(size, run.patch).number for size in run.trained]
    if asked == "estimated" and run.evolve.patches < 2 and max(totals) > 1:
        yield (
            key,
            "cannot be estimated from one patch a snapshot: set evolve.patches to 2 or more",
        )
    shares = sorted({total / min(total, run.evolve.patches) for total in totals})
    if not isinstance(asked, str) and len(shares) > 1:
        yield (
            key,
            f"{asked:g} cannot stand for the factors K/m of all of sizes.train (by theory "
            f"{', '.join(f'{share:g}' for share in shares)}): set it to theory or estimated",
        )
