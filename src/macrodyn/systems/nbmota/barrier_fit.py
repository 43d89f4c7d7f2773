"""A barrier model from computed barriers: a part that is that of the jump back, and an energy.

::

    Eb = S + dE/2

S, half the sum of the barriers of a jump and of the jump back, depends on how many sites of each
species there are in each orbit of the sites around the jump's middle: linearly, by ridge
regression, and by a network of what that leaves. Orbits are those of D3d, which turns the jump
round: so S is that of the jump back. dE is the change of an energy of pairs. So rates keep detailed
balance in that energy, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from macrodyn.config.section import NotNegativeFloat, PositiveFloat, PositiveInt
from macrodyn.learning.history import History
from macrodyn.learning.holdout import hold_out
from macrodyn.learning.loop import Parameters, Progress, Trainable, train
from macrodyn.learning.settings import TrainingSettings
from macrodyn.storage.checkpoints import Checkpoints
from macrodyn.systems.nbmota.barriers import KINDS, TANH, BarrierModel, shell, sphere
from macrodyn.systems.nbmota.crystal import (
    DIRECTIONS,
    SPECIES,
    VACANCY,
    half_units,
    site_number,
    symmetries,
)

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

# The first jump, to which all others are mirrored.
_FORWARD = DIRECTIONS[0]
# Squared distances of the shells of pairs, in half sides: all neighbours up to 7.5 angstrom.
SHELLS = (3, 4, 8, 11, 12, 16, 19, 20)
# Squared distance of the farthest sites from a jump's middle that S depends on, in half sides.
AROUND = 20


class BarrierFitSettings(TrainingSettings):
    """How a barrier model is trained."""

    hidden: PositiveInt = Field(default=32, description="Width of the two hidden layers.")
    steps: PositiveInt = Field(default=4000, description="Most steps of the optimiser.")
    batch: PositiveInt = Field(default=256, description="Jumps per step.")
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: NotNegativeFloat = 1e-3
    patience: PositiveInt = Field(
        default=20, description="Validations without improvement before training stops."
    )
    validation_every: PositiveInt = 50
    ridge: PositiveFloat = Field(
        default=1.0, description="Penalty of the pair energies: jumps that weigh as much."
    )
    saddle_ridge: PositiveFloat = Field(
        default=30.0, description="Penalty of the linear part of S: jumps that weigh as much."
    )


@dataclass(frozen=True, kw_only=True)
class Jumps:
    """Jumps whose barriers are known.

    Attributes:
        atom: Species that jumps, shape [n].
        orbits: How many sites of each species are in each orbit, shape [n, orbit, species].
        pairs: Change of the number of pairs of two species in each shell, shape [n, shell, pair].
        saddle: S in eV, shape [n].
        change: dE in eV, shape [n].
        configuration: Number of the configuration, shape [n].
    """

    atom: Ints
    orbits: Array
    pairs: Array
    saddle: Array
    change: Array
    configuration: Ints

    def __len__(self) -> int:
        return len(self.atom)

    def __getitem__(self, rows: NDArray[Any]) -> Jumps:
        return Jumps(**{name: values[rows] for name, values in vars(self).items()})


@cache
def orbits() -> tuple[Ints, Ints]:
    """Sites around the middle of the forward jump, and the orbit of D3d that each is in.

    Returns:
        Coordinates in half sides from the vacancy, shape [n, 3], without the jump's two ends; and
        numbers of the orbits, by distance, shape [n].
    """
    sites = sphere(AROUND, (0.5, 0.5, 0.5))
    sites = sites[~(sites == _FORWARD).all(axis=1)]
    # Twice the distance from the middle is whole.
    place = {tuple(row): k for k, row in enumerate((2 * sites - _FORWARD).tolist())}
    number = np.full(len(sites), -1)
    count = 0
    for k, site in enumerate(2 * sites - _FORWARD):
        if number[k] < 0:
            images = [tuple((operation @ site).tolist()) for operation in symmetries(_FORWARD)]
            number[[place[image] for image in images]] = count
            count += 1
    return sites, number


def kinds_of_pairs() -> list[tuple[int, int]]:
    """Pairs of species, in the order in which they are counted."""
    named = range(1, len(SPECIES) + 1)
    return [(a, b) for a in named for b in named if a <= b]


def describe(species: NDArray[np.uint8], energies: Array, configuration: int) -> Jumps:
    """Describe the jumps of a configuration that have converged.

    Args:
        species: Of each site, shape [2, cells, cells, cells], with one vacancy.
        energies: Of `neb.jumps`, shape [8, 5].
        configuration: Its number.
    """
    shape, flat = species.shape[1:], species.reshape(-1)
    (vacancy,) = np.flatnonzero(flat == VACANCY)
    position = half_units(shape)[vacancy]
    sites, number = orbits()
    shells = [shell(square) for square in SHELLS]
    kinds = {pair: k for k, pair in enumerate(kinds_of_pairs())}
    found: dict[str, list[Any]] = {name: [] for name in Jumps.__dataclass_fields__}
    for direction, (start, end, saddle, _, fine) in zip(DIRECTIONS, energies, strict=True):
        if fine != 1.0:
            continue
        here = flat[site_number(position + sites * direction, shape)]
        counts = np.zeros((number.max() + 1, len(SPECIES)))
        np.add.at(counts, (number[here > 0], here[here > 0] - 1), 1.0)
        atom = int(flat[site_number(position + direction, shape)])
        pairs = np.zeros((len(SHELLS), len(kinds)))
        for s, offsets in enumerate(shells):
            for sign, centre in ((1, position), (-1, position + direction)):
                around = site_number(centre + offsets, shape)
                # The atom is no neighbour of its own.
                around = around[around != site_number(position + direction, shape)]
                for other in flat[around]:
                    if other != VACANCY:
                        pairs[s, kinds[min(atom, other), max(atom, other)]] += sign
        rows = (atom, counts, pairs, saddle - (start + end) / 2, end - start, configuration)
        for name, value in zip(found, rows, strict=True):
            found[name].append(value)
    orbit_shape = (-1, number.max() + 1, len(SPECIES))
    return Jumps(
        atom=np.array(found["atom"], dtype=np.int64),
        orbits=np.array(found["orbits"], dtype=np.float64).reshape(orbit_shape),
        pairs=np.array(found["pairs"], dtype=np.float64).reshape(-1, len(SHELLS), len(kinds)),
        saddle=np.array(found["saddle"], dtype=np.float64),
        change=np.array(found["change"], dtype=np.float64),
        configuration=np.array(found["configuration"], dtype=np.int64),
    )


def join(parts: Sequence[Jumps]) -> Jumps:
    """All jumps of several configurations."""
    names = Jumps.__dataclass_fields__
    return Jumps(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})


def pair_energies(jumps: Jumps, ridge: float) -> Array:
    """Energies of pairs of two species in each shell, by ridge regression of dE.

    dE has no constant part: a jump back has the opposite one.

    Args:
        jumps: Jumps to learn from.
        ridge: Penalty.

    Returns:
        In eV, shape [shell, pair].
    """
    features = jumps.pairs.reshape(len(jumps), -1)
    square = features.T @ features + ridge * np.eye(features.shape[1])
    found = np.linalg.solve(square, features.T @ jumps.change)
    return np.asarray(found.reshape(jumps.pairs.shape[1:]), np.float64)


@dataclass(frozen=True)
class Lines:
    """The linear part of S.

    Attributes:
        slopes: In eV for a site more, shape [orbit, species that jumps, species].
        level: In eV, by the species that jumps, shape [species].
    """

    slopes: Array
    level: Array

    @classmethod
    def fit(cls, jumps: Jumps, ridge: float) -> Lines:
        """Fit by ridge regression.

        Each species that jumps has slopes of its own, which are drawn to those of all.

        Args:
            jumps: Jumps to learn from.
            ridge: Penalty of slopes.
        """
        n, species = len(jumps), len(SPECIES)
        counts = jumps.orbits.reshape(n, -1)
        centre = counts.mean(axis=0)
        own = np.eye(species)[jumps.atom - 1]
        parts = [own[:, [a]] * (counts - centre) for a in range(species)]
        features = np.concatenate([own, counts - centre, *parts], axis=1)
        penalty = np.full(features.shape[1], ridge)
        penalty[:species] = 1e-6
        square = features.T @ features + np.diag(penalty)
        found = np.linalg.solve(square, features.T @ jumps.saddle)
        level, slopes = found[:species], found[species:].reshape(1 + species, -1)
        slopes = slopes[0] + slopes[1:]
        level = level - slopes @ centre
        by_orbit = slopes.reshape(species, -1, species).transpose(1, 0, 2)
        return cls(slopes=by_orbit, level=level)

    def __call__(self, jumps: Jumps) -> Array:
        """Evaluate it, in eV, shape [n]."""
        slopes = self.slopes[:, jumps.atom - 1]
        found: Array = np.einsum("nos,ons->n", jumps.orbits, slopes) + self.level[jumps.atom - 1]
        return found


class SaddleFit(Trainable):
    """The mean square error of S, in units of what its linear part leaves.

    Args:
        training: Jumps to learn from.
        validation: Jumps of other configurations.
        lines: The linear part.
        settings: How to train.
        seed: Of the initial parameters.
    """

    section = "barriers"
    schedule = "cosine"
    average = 0.99

    def __init__(
        self,
        training: Jumps,
        validation: Jumps,
        lines: Lines,
        settings: BarrierFitSettings,
        seed: int,
    ) -> None:
        self.samples, self.settings, self.lines = len(training), settings, lines
        self.weight_decay = settings.weight_decay
        self.scale = float((training.saddle - lines(training)).std())
        self.centre = torch.as_tensor(training.orbits.mean(axis=0), dtype=torch.float32)
        spread = training.orbits.std(axis=(0, 2)).mean(axis=0)
        self.spread = float(spread)
        self.training, self.validation = (self._tensors(part) for part in (training, validation))
        width = settings.hidden
        random = torch.Generator().manual_seed(seed)
        orbit_count = training.orbits.shape[1]

        def normal(*shape: int, inputs: int) -> Tensor:
            return torch.randn(shape, generator=random) / inputs**0.5

        self.parameters = {
            "table": normal(orbit_count, len(SPECIES), width, inputs=orbit_count * len(SPECIES)),
            "bias": normal(KINDS, width, inputs=1),
            "weight": normal(width, width, inputs=width),
            "bias2": torch.zeros(width),
            "out": torch.zeros(KINDS, width),
            "level": torch.zeros(KINDS),
        }

    def loss(self, parameters: Parameters, index: Tensor | None) -> Tensor:
        """Mean square of a batch, shape [1]; see `Trainable.loss`."""
        data = self.training if index is None else [part[index[0]] for part in self.training]
        return self._square(parameters, data)

    def validate(self, parameters: Parameters) -> Tensor:
        """Mean square of what is held out, shape [1]."""
        return self._square(parameters, self.validation)

    def predict(self, parameters: Parameters, orbits: Tensor, atom: Tensor) -> Tensor:
        """S in units of its standard deviation, from standardised counts."""
        x = torch.einsum("nos,osw->nw", orbits, parameters["table"]) + parameters["bias"][atom]
        x = torch.tanh(torch.tanh(x) @ parameters["weight"].T + parameters["bias2"])
        return (x * parameters["out"][atom]).sum(-1) + parameters["level"][atom]

    def identity(self) -> tuple[dict[str, Any], tuple[Tensor, ...]]:
        """What a checkpoint must share; see `Trainable.identity`."""
        return {"kind": "barriers"}, (*self.training, *self.validation)

    def decays(self, name: str) -> bool:
        """Weights decay."""
        return name in ("table", "weight", "out")

    def _square(self, parameters: Parameters, data: Sequence[Tensor]) -> Tensor:
        orbits, atom, aim = data
        return (self.predict(parameters, orbits, atom) - aim).square().mean()[None]

    def _tensors(self, jumps: Jumps) -> list[Tensor]:
        counts = torch.as_tensor(jumps.orbits, dtype=torch.float32)
        left = (jumps.saddle - self.lines(jumps)) / self.scale
        aim = torch.as_tensor(left, dtype=torch.float32)
        return [(counts - self.centre) / self.spread, torch.as_tensor(jumps.atom), aim]


def fit_barriers(
    jumps: Jumps,
    settings: BarrierFitSettings,
    *,
    source: str,
    seed: int,
    checkpoints: Checkpoints | None = None,
    progress: Progress | None = None,
) -> tuple[BarrierModel, History]:
    """Train a barrier model.

    Args:
        jumps: Jumps to learn from; some of their configurations are held out to tell when to stop.
        settings: How to train.
        source: What the barriers come from.
        seed: Of the split, the initial parameters and minibatches.
        checkpoints: Where to keep checkpoints while training.
        progress: Called after each validation.

    Returns:
        The model, and the history of the training.
    """
    split = hold_out(jumps.configuration, settings.validation_fraction, seed=seed)
    lines = Lines.fit(jumps[split[0]], settings.saddle_ridge)
    problem = SaddleFit(jumps[split[0]], jumps[split[1]], lines, settings, seed)
    best, history = train(problem, settings, seed=seed, checkpoints=checkpoints, progress=progress)
    saddle = {name: value.detach().numpy().astype(np.float64) for name, value in best.items()}
    return assemble(saddle, problem, pair_energies(jumps, settings.ridge), source), history


def assemble(
    saddle: dict[str, Array], problem: SaddleFit, pairs: Array, source: str
) -> BarrierModel:
    """Put the tables of a barrier model together, for all eight jumps.

    Args:
        saddle: Parameters of S.
        problem: Its units.
        pairs: Energies of pairs in each shell, shape [shell, pair].
        source: What the barriers come from.
    """
    sites, number = orbits()
    # All sites within the shells of the vacancy and of its eight neighbours.
    ends = [np.zeros(3, np.int64), *DIRECTIONS]
    shell_sites = sphere(max(SHELLS))
    read = {tuple(s) for end in ends for s in (shell_sites + end).tolist()}
    read |= {tuple(s) for d in DIRECTIONS for s in (sites * d).tolist()}
    read.discard((0, 0, 0))
    order = sorted(read, key=lambda s: (sum(c * c for c in s), s))
    place = {site: k for k, site in enumerate(order)}
    rows = np.full((len(DIRECTIONS), len(order)), -1)
    for d, direction in enumerate(DIRECTIONS):
        for site, orbit in zip((sites * direction).tolist(), number, strict=True):
            rows[d, place[tuple(site)]] = orbit
    table = np.zeros((number.max() + 1, KINDS, saddle["table"].shape[-1]))
    table[:, 1:] = saddle["table"] / problem.spread
    shift = np.einsum("os,osw->w", problem.centre.double().numpy(), table[:, 1:])
    slopes, level = np.zeros((len(table), KINDS, KINDS)), np.zeros(KINDS)
    slopes[:, 1:, 1:], level[1:] = problem.lines.slopes, problem.lines.level
    energies = np.zeros((len(SHELLS), KINDS, KINDS))
    for k, (a, b) in enumerate(kinds_of_pairs()):
        energies[:, a, b] = energies[:, b, a] = pairs[:, k]
    return BarrierModel.of_arrays(
        source,
        {
            "offsets": np.array(order),
            "rows": rows,
            "table": table,
            "lines": slopes,
            "bias": saddle["bias"] - shift,
            "weights": saddle["weight"][None],
            "biases": saddle["bias2"][None],
            "out": saddle["out"] * problem.scale,
            "level": saddle["level"] * problem.scale + level,
            "shells": np.array(SHELLS),
            "energies": energies,
            "activation": TANH,
        },
    )
