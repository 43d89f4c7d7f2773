"""Linear coordinates of macroscopic variables: principal axes, and exact linear relations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

# What a relation may be missed by, over the size of the data: far more than their rounding.
_ROUNDING = 1e-4
# Least standard deviation of a principal axis of the standardised variables.
_THINNEST = 1e-2


@dataclass(frozen=True)
class Coordinates:
    """Linear coordinates y of states z = z0 + B y.

    Attributes:
        basis: B, of full column rank, shape [d, free], float64.
        origin: z0, shape [d], float64.
    """

    basis: Tensor
    origin: Tensor

    @cached_property
    def inverse(self) -> Tensor:
        """The left inverse of B, shape [free, d]."""
        return torch.linalg.pinv(self.basis)

    @property
    def free(self) -> int:
        """Number of coordinates."""
        return self.basis.shape[1]

    def reduce(self, z: Tensor) -> Tensor:
        """Coordinates y of states, [..., d] to [..., free]."""
        return self.reduce_change(z.double() - self.origin.to(z.device)).to(z.dtype)

    def reduce_change(self, change: Tensor) -> Tensor:
        """The same of increments or of columns of a factor, [..., d] to [..., free]."""
        return change.double().matmul(self.inverse.T.to(change.device)).to(change.dtype)

    def restore(self, y: Tensor) -> Tensor:
        """States z = z0 + B y, [..., free] to [..., d]."""
        z = y.double().matmul(self.basis.T.to(y.device)) + self.origin.to(y.device)
        return z.to(y.dtype)

    def within(self, outer: Coordinates | None) -> Coordinates:
        """These, of what are coordinates themselves, as coordinates of the same states."""
        if outer is None:
            return self
        return Coordinates(outer.basis @ self.basis, outer.restore(self.origin))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, of which `from_dict` makes the same again."""
        return {"basis": self.basis.tolist(), "origin": self.origin.tolist()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Make them from what `as_dict` gave."""
        return cls(*(torch.tensor(values[k], dtype=torch.float64) for k in ("basis", "origin")))


def principal_axes(z: Tensor) -> Coordinates | None:
    """Coordinates of mean 0 and variance 1 that do not correlate.

    Closure variables are often nearly functions of the observables. Whether a trajectory returns to
    where that holds is said by the drift's slope in a direction in which the data hardly spread.
    Networks that see each variable standardised learn it last; along the principal axes it is a
    slope of order one.

    Args:
        z: Data, shape [N, d].

    Returns:
        The coordinates, their order that of rising variance of the standardised variables; None for
        a single variable. No axis is taken for thinner than `_THINNEST`.
    """
    if z.shape[1] == 1:
        return None
    z = z.double().cpu()
    spread = z.std(0, correction=0)
    spread = spread.where(spread > 0, torch.ones_like(spread))
    standard = (z - z.mean(0)) / spread
    variances, axes = torch.linalg.eigh(standard.T @ standard / len(z))
    largest = axes.abs().argmax(0)
    axes = axes * axes.gather(0, largest[None]).sign()
    scale = variances.clamp(min=_THINNEST**2).sqrt()
    return Coordinates(spread[:, None] * axes * scale, z.mean(0))


@dataclass(frozen=True)
class LinearConstraint(Coordinates):
    """Relations A z = b, as z = z0 + B y with free variables y.

    Whatever y is, z keeps the relations: they are built in, not learned. B has orthonormal columns
    that span the null space of A, and z0 is the point of the relations that is nearest to 0.
    """

    @classmethod
    def of(cls, matrix: ArrayLike, values: ArrayLike) -> LinearConstraint:
        """Make the constraint A z = b.

        Args:
            matrix: A, shape [relation, d].
            values: b, shape [relation].

        Raises:
            ValueError: If the relations contradict each other, or leave nothing free.
        """
        a = np.atleast_2d(np.asarray(matrix, np.float64))
        b = np.asarray(values, np.float64).reshape(-1)
        if a.shape[0] != len(b):
            raise ValueError(f"{a.shape[0]} relations have {len(b)} values")
        _, sizes, right = np.linalg.svd(a)
        rank = int((sizes > 1e-10 * max(sizes.max(initial=0.0), 1e-300)).sum())
        origin = np.linalg.pinv(a) @ b
        if not np.allclose(a @ origin, b, atol=1e-8 * (1 + np.abs(b).max(initial=0.0))):
            raise ValueError("The linear relations among the variables contradict each other")
        if rank == a.shape[1]:
            raise ValueError("The linear relations among the variables leave none of them free")
        return cls(torch.from_numpy(right[rank:].T.copy()), torch.from_numpy(origin))

    @property
    def inverse(self) -> Tensor:
        """The transpose of B."""
        return self.basis.T

    def project(self, z: Tensor) -> Tensor:
        """The nearest states that keep the relations, [..., d] to [..., d]."""
        return self.restore(self.reduce(z.double())).to(z.dtype)

    def check(self, z: Tensor, change: Tensor) -> None:
        """Refuse data that do not keep the relations.

        Args:
            z: States, shape [..., d].
            change: Increments, shape [..., d].

        Raises:
            ValueError: If they miss them by more than rounding.
        """
        moved = self.reduce_change(change.double()).matmul(self.basis.T.to(change.device))
        for name, given, kept in (("states", z, self.project(z)), ("increments", change, moved)):
            missed = float((given - kept).abs().max() / given.abs().max().clamp(min=1e-300))
            if missed > _ROUNDING:
                raise ValueError(
                    f"The {name} miss the linear relations of the observables by {missed:.1e} of "
                    "their size: see the system's relations()"
                )
