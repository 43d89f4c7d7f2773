"""The alloy: atoms on a bcc lattice that move by jumps of vacancies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from macrodyn.lattice import ALONE, PatchGeometry, Shape, Surroundings
from macrodyn.streams import Seeds, substreams
from macrodyn.systems.nbmota.barriers import BOLTZMANN, BarrierModel
from macrodyn.systems.nbmota.bonds import (
    NAMES,
    PAIRS,
    RANDOM,
    bonds,
    inner_bonds,
    six_of,
    sum_rules,
)
from macrodyn.systems.nbmota.canonical import Canonical
from macrodyn.systems.nbmota.crystal import SPECIES, VACANCY
from macrodyn.systems.nbmota.kinetics import Kinetics
from macrodyn.systems.nbmota.parameters import SHIPPED, TRAINED, NbMoTaParameters
from macrodyn.systems.nbmota.published import read_published
from macrodyn.systems.nbmota.shipped import MODEL, read_model
from macrodyn.systems.nbmota.stages import prepare
from macrodyn.systems.nbmota.walk import jump_target
from macrodyn.systems.patch_system import PatchSystem
from macrodyn.systems.space import Component, Grid, Observable

Array = NDArray[np.float64]

_LABELS = {0: "vacancy", **{k + 1: name for k, name in enumerate(SPECIES)}}
FREQUENCY = 1e13
"""Attempt frequency ν, in 1/s."""
HOTTEST = 3000.0
"""Temperature from which a system is cooled down to equilibrium, in K."""
_COOLING_STEPS = 30
# Lowest and highest mean number of neighbours of a species, less that of a random alloy.
_BOUNDS = (-RANDOM, 8.0 - RANDOM)


class NbMoTa(PatchSystem):
    """Equal parts of Nb, Mo and Ta on a bcc lattice with vacancies.

    A vacancy exchanges with one of its eight first neighbours at the rate ν exp(-Eb/kT), with Eb
    from a model of barriers. States are the conventional cells, with corners and centres as
    channels. The observables are the six parameters of short-range order; see `bonds`. Numbers of
    atoms and of vacancies are kept.

    Initial states have Mo on one sublattice by a degree from 0, random, to 1, where all of it is.

    The unit of time is exp(E/kT)/ν, with E the parameter ``unit_barrier``.

    In a patch with frozen surroundings vacancies stay within the patch and its buffer, so that it
    needs one: jumps across the edge would be missing.

    Source: the setting of arXiv:2511.12842.
    """

    space: ClassVar[Grid] = Grid("species", 3, channels=2, species=4, labels=_LABELS)
    halo: ClassVar[int] = 3
    least_buffer: ClassVar[int] = 1
    observables = tuple(
        Observable(name, _BOUNDS, rf"$\delta_{{\mathrm{{{SPECIES[a]}{SPECIES[b]}}}}}$")
        for name, (a, b) in zip(NAMES, PAIRS, strict=True)
    )
    macrostate = (Component("order", 0.0, 1.0, "initial order of Mo"),)
    time_unit = "exp(E/kT)/nu"
    upsamplings = ("tile", "replicate")
    Parameters = NbMoTaParameters
    parameters: NbMoTaParameters

    @classmethod
    def prepare(cls, parameters: NbMoTaParameters, planner: Any) -> Mapping[str, Any]:
        """Return the stages that compute barriers and train a model of them."""
        return prepare(parameters, planner)

    @property
    def is_ready(self) -> bool:
        """Whether its barriers are at hand."""
        return bool(self.prepared) or self.parameters.barriers != TRAINED

    def lacks(self) -> Iterator[tuple[str, str]]:
        """Say where the published network's weights are to be had, if their file is not here."""
        given = self.parameters.barriers
        if given not in (SHIPPED, TRAINED) and not Path(given).is_file():
            yield (
                "barriers",
                f"there is no file {given} in {Path.cwd()}: give the published weights "
                "(nkk_weights.npy of the repository UCICaoLab/NKK), or shipped, or trained",
            )

    @cached_property
    def barriers(self) -> BarrierModel:
        """The model of barriers.

        Raises:
            ValueError: If the file of published weights holds something else.
        """
        if self.parameters.barriers == SHIPPED:
            return read_model(MODEL)
        if self.parameters.barriers == TRAINED:
            return read_model(self.prepared["barriers"]["model"])
        return read_published(self.parameters.barriers)

    @cached_property
    def kinetics(self) -> Kinetics:
        """Walks of vacancies, time in 1/ν."""
        return Kinetics(self.barriers, 1.0, chain=self.parameters.flicker)

    @property
    def unit(self) -> float:
        """The unit of time, in 1/ν."""
        energy = self.parameters.unit_barrier / (BOLTZMANN * self.parameters.temperature)
        return math.exp(energy)

    @property
    def seconds(self) -> float:
        """The unit of time, in seconds."""
        return self.unit / FREQUENCY

    def initial_states(self, macrostate: Array, shape: Shape, seeds: Seeds) -> NDArray[np.uint8]:
        """Fill sites at random, Mo by preference at corners.

        Args:
            macrostate: Order of each state, 0 to 1, shape [batch, 1].
            shape: Cells along each axis.
            seeds: One stream per state, shape [batch].

        Returns:
            States, shape [batch, 2, *shape], with one vacancy for each `sites_per_vacancy` sites.

        Raises:
            ValueError: If an order is none.
        """
        macrostate = np.asarray(macrostate, dtype=np.float64)
        if macrostate.shape != (len(seeds), 1):
            raise ValueError(
                f"initial macrostates of shape {macrostate.shape} should be {(len(seeds), 1)}: an "
                "order for each state"
            )
        if not ((macrostate >= 0) & (macrostate <= 1)).all():
            raise ValueError("an initial order must lie between 0 and 1")
        sites = 2 * math.prod(shape)
        vacancies = max(1, sites // self.parameters.sites_per_vacancy)
        counts = np.full(3, (sites - vacancies) // 3)
        counts[2 : 2 - (sites - vacancies) % 3 : -1] += 1
        centre = np.arange(sites) >= sites // 2
        states = np.empty((len(seeds), sites), np.uint8)
        mo = SPECIES.index("Mo")
        for state, seed, order in zip(states, seeds, macrostate[:, 0], strict=True):
            rng = np.random.Generator(np.random.Philox(key=int(seed)))
            # A key below zero comes before all others: at order 1 corners are filled first.
            rank = np.argsort(rng.random(sites) - order * ~centre, kind="stable")
            others = np.repeat([VACANCY, 1, 3], [vacancies, counts[0], counts[2]])
            state[rank[: counts[mo]]] = mo + 1
            state[rank[counts[mo] :]] = rng.permutation(others)
        return states.reshape(len(seeds), 2, *shape)

    def evolve(self, states: NDArray, duration: float, seeds: Seeds) -> NDArray:
        """Let the vacancies of whole systems walk; see `PatchSystem.evolve`."""
        self._check_cells(states)
        walk = self.kinetics.walk(
            states, self.parameters.temperature, seeds, duration=duration * self.unit
        )
        return walk.states

    def evolve_patch(
        self,
        windows: NDArray,
        patch: PatchGeometry,
        duration: float,
        seeds: Seeds,
        events: int | None = None,
        around: Surroundings = ALONE,
    ) -> tuple[NDArray, Array]:
        """Let the vacancies of patches walk; see `PatchSystem.evolve_patch`.

        Raises:
            ValueError: If events are to end it: a patch without a vacancy has none.
        """
        if events is not None:
            raise ValueError("a patch without a vacancy waits for ever: set evolve.stop to time")
        inside = None if patch.boundary == "periodic" else patch.moving
        if inside is None:
            self._check_cells(windows)
        walk = self.kinetics.walk(
            windows,
            self.parameters.temperature,
            seeds,
            duration=duration * self.unit,
            inside=inside,
        )
        return walk.states, np.full(len(windows), float(duration))

    @property
    def knows_equilibrium(self) -> bool:
        """Whether the barriers have an energy: the published ones have none."""
        return self.parameters.barriers in (SHIPPED, TRAINED)

    def equilibrate(
        self, states: NDArray, sweeps: int, seeds: Seeds, *, first: bool = False
    ) -> NDArray:
        """Exchange atoms at any distance; see `PatchSystem.equilibrate`.

        At first the system is cooled down to its temperature from `HOTTEST`, evenly in the
        logarithm, in half of the sweeps: below an ordering transition exchanges alone would leave
        it in many small domains.
        """
        self._check_cells(states)
        temperature = self.parameters.temperature
        exchange = Canonical(self.barriers).exchange
        rest = sweeps
        if first and temperature < HOTTEST:
            steps = min(_COOLING_STEPS, sweeps // 2)
            for step in range(steps):
                now = HOTTEST * (temperature / HOTTEST) ** (step / steps)
                each = (step + 1) * (sweeps // 2) // steps - step * (sweeps // 2) // steps
                states, _ = exchange(states, now, each, substreams(seeds, 1 + step))
                rest -= each
        return exchange(states, temperature, rest, substreams(seeds, 0))[0]

    def prepared_figures(self, title: str) -> Iterator[tuple[str, Any]]:
        """Barriers by the model against computed ones; none of published barriers."""
        from macrodyn.storage.models import load_model
        from macrodyn.storage.sealed import read_sealed_json
        from macrodyn.systems.nbmota.figures import parity

        if self.parameters.barriers == SHIPPED:
            yield "barriers", parity(load_model(MODEL)[1], title=title)
        elif self.parameters.barriers == TRAINED:
            told = read_sealed_json(self.prepared["barriers"]["training"])
            yield "barriers", parity(told, title=title)

    def observe(self, states: NDArray) -> Array:
        """Measure the order of whole systems: [batch, 6]."""
        return _order(bonds(states), states[0].size)

    def observe_patch(self, patches: NDArray) -> Array:
        """Measure the order of patches by the bonds within them: [batch, 6]."""
        found, total = inner_bonds(patches)
        # A site has four bonds that are its own.
        return _order(found, total / 4.0)

    def observable_increment(
        self, before: NDArray, after: NDArray, patch: PatchGeometry, around: Surroundings = ALONE
    ) -> Array:
        """Change of the order by the moves of a patch, as if all K changed so: [batch, 6]."""
        counted = np.zeros(patch.window, np.bool_)
        counted[patch.core] = True
        scale = 3.0 / (2 * math.prod(patch.shape))
        change = patch.attribute(
            lambda windows: bonds(windows, counted).astype(np.float64), before, after
        )
        return six_of(scale * change)

    def expected_rates(
        self, windows: NDArray, patch: PatchGeometry, around: Surroundings = ALONE
    ) -> Array:
        """Expected rate of change of the order by the jumps that are possible: [batch, 6].

        See `PatchSystem.expected_rates`.
        """
        lows, highs = [], []
        whole = patch.boundary == "periodic"
        for parts in (patch.moving, patch.core):
            bounds = [part.indices(side) for part, side in zip(parts, patch.window, strict=True)]
            lows.append([low for low, _, _ in bounds])
            highs.append([high for _, high, _ in bounds])
        found = np.zeros((len(windows), 3))
        beta = 1.0 / (BOLTZMANN * self.parameters.temperature)
        for row, window in zip(found, np.ascontiguousarray(windows), strict=True):
            vacancies = np.argwhere(window == VACANCY)
            within = (vacancies[:, 1:] >= lows[0]) & (vacancies[:, 1:] < highs[0])
            vacancies = vacancies[within.all(axis=1)]
            if len(vacancies):
                several = np.repeat(window[None], len(vacancies), axis=0)
                barriers = np.maximum(self.kinetics.barriers(several, vacancies), 0.0)
                rates = np.exp(-beta * barriers)
                limits = np.array([lows, highs])
                channels, cells = self.kinetics.tables
                _add_rates(
                    window, vacancies, rates, limits, whole, channels, cells,
                    self.barriers.jumpers, row,
                )  # fmt: skip
        scale = 3.0 * self.unit / (2 * math.prod(patch.shape))
        return six_of(scale * found)

    def relations(self) -> tuple[Array, Array]:
        """Return the three sum rules."""
        return sum_rules()

    def _check_cells(self, states: NDArray) -> None:
        """Refuse blocks in which an atom would see its own image at its new place."""
        least = self.barriers.reach // 2 + 1
        if min(states.shape[2:]) < least:
            raise ValueError(
                f"a system of {states.shape[2:]} cells is too small for these barriers: use "
                f"{least} or more along each axis"
            )


def _order(unlike: NDArray, sites: float) -> Array:
    """All six parameters from numbers of bonds, [batch, 3] to [batch, 6]."""
    return six_of(3.0 * unlike / sites - RANDOM)


@njit(cache=True)
def _add_rates(  # type: ignore[no-untyped-def]
    window, vacancies, rates, limits, whole, channels, cells, jumpers, found
):
    """Add the rates of change of the numbers of unlike bonds by the jumps of vacancies."""
    sides = np.array(window.shape[1:])
    here, there, near = np.empty(4, np.int64), np.empty(4, np.int64), np.empty(4, np.int64)
    for v in range(len(vacancies)):
        here[:] = vacancies[v]
        here_in = _within(here, limits[0, 1], limits[1, 1])
        for d in range(8):
            _neighbour(here, channels, cells, jumpers[d], sides, there)
            # A jump out of what moves is not possible; a window's sides are never crossed by one.
            if not whole and not _within(there, limits[0, 0], limits[1, 0]):
                continue
            there_in = _within(there, limits[0, 1], limits[1, 1])
            atom = window[there[0], there[1], there[2], there[3]]
            if atom == 0 or not (here_in or there_in):
                continue
            # The atom's bonds at its new place count for that one, those at the old for the other.
            # Where one of them is another patch's, so does half of the bond between the two.
            for centre, mine, other, sign in (
                (here, here_in, there, 1.0),
                (there, there_in, here, -1.0),
            ):
                if not mine:
                    continue
                for e in range(8):
                    _neighbour(centre, channels, cells, jumpers[e], sides, near)
                    if (near == other).all():
                        continue
                    species = window[near[0], near[1], near[2], near[3]]
                    if species != 0 and species != atom:
                        # Nb-Mo, Nb-Ta and Mo-Ta: the sums of the species are 3, 4 and 5.
                        found[species + atom - 3] += sign * rates[v, d]


@njit(cache=True)
def _within(site, low, high):  # type: ignore[no-untyped-def]
    inside = True
    for axis in range(3):
        inside &= low[axis] <= site[axis + 1] < high[axis]
    return inside


@njit(cache=True)
def _neighbour(site, channels, cells, jumper, sides, found):  # type: ignore[no-untyped-def]
    jump_target(site, channels, cells, jumper, found)
    for axis in range(3):
        found[axis + 1] %= sides[axis]
