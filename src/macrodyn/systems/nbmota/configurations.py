"""Cells of the alloy whose jumps are computed: random, annealed and ordered ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from macrodyn.streams import generator
from macrodyn.systems.nbmota.crystal import SPECIES

# Shares of the sorts of cells.
_SORTS = {"random": 0.35, "annealed": 0.5, "ordered": 0.15}
# How many of the random and annealed cells have as many atoms of each species.
_EQUIMOLAR = 0.6
# Of annealed cells, in K.
_COLDEST, _HOTTEST = 300.0, 3000.0
# Largest share of an ordered cell's sites that are filled at random.
_DISORDER = 0.5


@dataclass(frozen=True)
class Configuration:
    """A cell before it is annealed and before an atom is taken out.

    Attributes:
        sort: ``random``, ``annealed`` or ``ordered``.
        species: Species of each site, 1 to 3, shape [2, cells, cells, cells].
        temperature: At which it is annealed, in K; NaN if it is not.
        vacancy: Number of the site that is then vacated.
        seed: Of the annealing.
    """

    sort: str
    species: NDArray[np.uint8]
    temperature: float
    vacancy: int
    seed: int


def configuration(number: int, cells: int, seed: int) -> Configuration:
    """Draw one of many configurations.

    Ordered cells have one species, or a mixture of two, at the corners and others at the centres,
    as B2 crystals do, and some sites that are filled at random.

    Args:
        number: Its number, from 0; the sorts have their shares among any many of them.
        cells: Cells along each axis.
        seed: Of all configurations.
    """
    rng = generator(seed, "barriers", number)
    sort = str(rng.choice(list(_SORTS), p=list(_SORTS.values())))
    sites = 2 * cells**3
    if sort == "ordered":
        first, *others = rng.permutation(len(SPECIES)) + 1
        share = rng.uniform(0.0, 1.0)
        flat = np.concatenate(
            [
                np.where(rng.random(sites // 2) < 0.5 * share, others[1], first),
                np.where(rng.random(sites // 2) < share, others[1], others[0]),
            ]
        )
        astray = rng.random(sites) < rng.uniform(0.0, _DISORDER)
        flat = np.where(astray, rng.permutation(flat), flat)
    else:
        shares = np.full(len(SPECIES), 1.0 / len(SPECIES))
        if rng.random() > _EQUIMOLAR:
            shares = rng.dirichlet(np.ones(len(SPECIES)))
        counts = np.floor(shares * sites).astype(int)
        counts[rng.permutation(len(counts))[: sites - counts.sum()]] += 1
        flat = rng.permutation(np.repeat(np.arange(len(SPECIES)) + 1, counts))
    temperature = math.nan
    if sort == "annealed":
        temperature = float(np.exp(rng.uniform(math.log(_COLDEST), math.log(_HOTTEST))))
    return Configuration(
        sort=sort,
        species=flat.astype(np.uint8).reshape(2, cells, cells, cells),
        temperature=temperature,
        vacancy=int(rng.integers(sites)),
        seed=int(rng.integers(2**31)),
    )
