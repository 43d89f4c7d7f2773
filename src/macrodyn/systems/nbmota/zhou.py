"""An embedded-atom potential of Nb, Mo and Ta, made from its published parameters.

::

    E = sum_i F_i(rho_i) + 1/2 sum_ij phi_ij(r_ij),    rho_i = sum_j f_j(r_ij)

Source: Zhou, Johnson and Wadley, Phys. Rev. B 69, 144113 (2004), for Mo and Ta; Lin et al., J.
Phys.: Condens. Matter 25, 105404 (2013) and its corrigendum, for Nb.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from macrodyn.paths import StrPath

Array = NDArray[np.float64]

# Where the embedding function changes its form, over rho_e.
_LOW, _HIGH = 0.85, 1.15
# Entries of the tables. LAMMPS interpolates by cubic splines.
_DENSITIES, _DISTANCES = 10_000, 10_000
# Largest density of the tables, over the largest rho_e. Beyond it LAMMPS goes on linearly.
_DENSEST = 3.0


@dataclass(frozen=True, kw_only=True)
class ZhouElement:
    """The parameters of one element; lengths in angstrom, energies in eV.

    Attributes:
        number: Atomic number.
        mass: Atomic mass, g/mol.
        lattice: Side of the cubic cell of the pure crystal, for the tables' header alone.
        re: Distance of nearest neighbours.
        fe: Unit of the electron density.
        rhoe: Electron density at equilibrium.
        alpha: Decay of the repulsion.
        beta: Decay of the attraction and of the density.
        a: Strength of the repulsion.
        b: Strength of the attraction.
        kappa: Cutoff of the repulsion.
        lambda_: Cutoff of the attraction and of the density.
        low: Fn0 to Fn3, of the embedding function below 0.85 rhoe.
        middle: F0 to F3, of the embedding function up to 1.15 rhoe.
        eta: Exponent of the embedding function beyond.
        fe_high: Fe, its strength there.
    """

    number: int
    mass: float
    lattice: float
    re: float
    fe: float
    rhoe: float
    alpha: float
    beta: float
    a: float
    b: float
    kappa: float
    lambda_: float
    low: tuple[float, float, float, float]
    middle: tuple[float, float, float, float]
    eta: float
    fe_high: float

    def density(self, r: ArrayLike) -> Array:
        """Electron density f(r) that an atom adds at a distance r."""
        return self._decay(r, self.fe, self.beta, self.lambda_)

    def pair(self, r: ArrayLike) -> Array:
        """Pair energy phi(r) of two atoms of the element."""
        repulsion = self._decay(r, self.a, self.alpha, self.kappa)
        return repulsion - self._decay(r, self.b, self.beta, self.lambda_)

    def embedding(self, rho: ArrayLike) -> Array:
        """Energy F(rho) of an atom in an electron density rho of 0 or more."""
        rho = np.asarray(rho, dtype=np.float64)
        low = np.polynomial.polynomial.polyval(rho / (_LOW * self.rhoe) - 1, self.low)
        middle = np.polynomial.polynomial.polyval(rho / self.rhoe - 1, self.middle)
        ratio = np.maximum(rho, _HIGH * self.rhoe) / self.rhoe
        high = self.fe_high * (1 - self.eta * np.log(ratio)) * ratio**self.eta
        below = np.where(rho < _HIGH * self.rhoe, middle, high)
        return np.where(rho < _LOW * self.rhoe, low, below)

    def _decay(self, r: ArrayLike, strength: float, rate: float, cutoff: float) -> Array:
        """An exponential that is cut off."""
        x = np.asarray(r, dtype=np.float64) / self.re
        found: Array = strength * np.exp(-rate * (x - 1)) / (1 + (x - cutoff) ** 20)
        return found


ELEMENTS: dict[str, ZhouElement] = {
    "Nb": ZhouElement(
        number=41,
        mass=92.90637,
        lattice=3.3004,
        re=2.858230,
        fe=2.889832,
        rhoe=31.744900,
        alpha=7.514546,
        beta=4.500000,
        a=0.569650,
        b=0.905874,
        kappa=0.136112,
        lambda_=0.388893,
        low=(-4.928550, -0.549044, 1.680064, -2.699442),
        middle=(-4.975703, 0.0, 1.980875, -0.765504),
        eta=0.890133,
        fe_high=-4.975568,
    ),
    "Mo": ZhouElement(
        number=42,
        mass=95.95,
        lattice=3.1501,
        re=2.728100,
        fe=2.723710,
        rhoe=29.354065,
        alpha=8.393531,
        beta=4.476550,
        a=0.708787,
        b=1.120373,
        kappa=0.137640,
        lambda_=0.275280,
        low=(-3.692913, -0.178812, 0.380450, -3.133650),
        middle=(-3.71, 0.0, 0.875874, 0.776222),
        eta=0.790879,
        fe_high=-3.712093,
    ),
    "Ta": ZhouElement(
        number=73,
        mass=180.94788,
        lattice=3.3026,
        re=2.860082,
        fe=3.086341,
        rhoe=33.787168,
        alpha=8.489528,
        beta=4.527748,
        a=0.611679,
        b=1.032101,
        kappa=0.176977,
        lambda_=0.353954,
        low=(-5.103845, -0.405524, 1.112997, -3.585325),
        middle=(-5.14, 0.0, 1.640098, 0.221375),
        eta=0.848843,
        fe_high=-5.141526,
    ),
}
"""The elements, in the order in which the alloy numbers its species."""

CUTOFF = math.sqrt(10) / 2 * math.sqrt(2) * max(element.re for element in ELEMENTS.values())
"""Distance from which on atoms do not interact, in angstrom; what is cut off is below 1e-7 eV."""


def pair_energy(first: ZhouElement, second: ZhouElement, r: ArrayLike) -> Array:
    """Pair energy phi_ab(r), of unequal elements a mean weighted by their densities.

    Source: Johnson, Phys. Rev. B 39, 12554 (1989), eq. (8).
    """
    if first is second:
        return first.pair(r)
    ratio = second.density(r) / first.density(r)
    found: Array = 0.5 * (ratio * first.pair(r) + second.pair(r) / ratio)
    return found


def write_setfl(path: StrPath) -> None:
    """Write the potential as a file that LAMMPS' pair style eam/alloy reads.

    Args:
        path: The file.
    """
    densest = _DENSEST * max(element.rhoe for element in ELEMENTS.values())
    rho, drho = np.linspace(0.0, densest, _DENSITIES, retstep=True)
    r, dr = np.linspace(0.0, CUTOFF, _DISTANCES, retstep=True)
    # At a distance of zero the ratio of densities is still finite.
    lines = [
        "Zhou-Johnson EAM of Nb, Mo and Ta, written by macrodyn",
        "Mo, Ta: Phys. Rev. B 69, 144113 (2004)",
        "Nb: J. Phys.: Condens. Matter 25, 105404 (2013) and corrigendum",
        f"{len(ELEMENTS)} {' '.join(ELEMENTS)}",
        f"{_DENSITIES} {drho:.16e} {_DISTANCES} {dr:.16e} {CUTOFF:.16e}",
    ]
    elements = list(ELEMENTS.values())
    for element in elements:
        lines.append(f"{element.number} {element.mass} {element.lattice} bcc")
        lines += _columns(element.embedding(rho))
        lines += _columns(element.density(r))
    for i, first in enumerate(elements):
        for second in elements[: i + 1]:
            lines += _columns(r * pair_energy(first, second, r))
    Path(path).write_text("\n".join(lines) + "\n", encoding="ascii")


def _columns(values: Array) -> list[str]:
    return [" ".join(f"{v:.16e}" for v in row) for row in values.reshape(-1, 5)]


def crystal_energy(species: tuple[str, str], side: float) -> float:
    """Energy per atom of a bcc crystal with one species at corners, one at centres (B2), in eV.

    Args:
        species: At the corners, and at the centres, of the cubic cells; both the same for a pure
            crystal.
        side: Side of a cell, in angstrom.
    """
    first, second = (ELEMENTS[name] for name in species)
    reach = math.ceil(CUTOFF / side) + 1
    grid = np.stack(np.meshgrid(*3 * [np.arange(-reach, reach + 1)], indexing="ij"), -1)
    cells = grid.reshape(-1, 3).astype(np.float64)
    own = np.linalg.norm(cells, axis=1) * side
    other = np.linalg.norm(cells + 0.5, axis=1) * side
    own, other = own[(own > 0) & (own < CUTOFF)], other[other < CUTOFF]
    energy = pair_energy(first, second, other).sum()
    for mine, theirs in ((first, second), (second, first)):
        rho = mine.density(own).sum() + theirs.density(other).sum()
        energy += float(mine.embedding(rho)) + 0.5 * mine.pair(own).sum()
    return float(energy) / 2
