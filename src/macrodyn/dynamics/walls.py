"""Bounds of the variables, at which trajectories are reflected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from macrodyn.dynamics.constraints import LinearConstraint

Bounds = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Walls:
    """Reflecting walls of a box, or of its cut with a linear constraint.

    A component beyond its wall comes back by as much. Alone it would leave the plane of a
    constraint z = z0 + B y, so there the state moves by -2 excess P e / P_ee, P = B B^T: it is
    mirrored at the wall's cut with the plane.

    Attributes:
        low: Lower bounds, shape [d].
        high: Upper bounds, shape [d].
        moves: Row i: how the state moves where component i moves by 1, shape [d, d]; None without
            a constraint, where only the component itself does.
    """

    low: Tensor
    high: Tensor
    moves: Tensor | None = None

    @classmethod
    def of(
        cls,
        bounds: Bounds,
        variables: int,
        constraint: LinearConstraint | None = None,
        device: str | torch.device = "cpu",
    ) -> Walls | None:
        """Make the walls of bounds; None where every side is open.

        Args:
            bounds: (low, high) of each component; infinite values leave a side open.
            variables: Number of variables d.
            constraint: Exact linear relations among the variables.
            device: Where the trajectories are.

        Raises:
            ValueError: If there are not as many bounds as variables, or they are out of order.
        """
        if len(bounds) != variables:
            raise ValueError(
                f"Need bounds for each of the {variables} variables, got {len(bounds)}"
            )
        for low, high in bounds:
            if not low < high:
                raise ValueError(f"Bounds must be (low, high) with low < high, got ({low}, {high})")
        if all(math.isinf(low) and math.isinf(high) for low, high in bounds):
            return None
        table = torch.tensor([[float(v) for v in pair] for pair in bounds], device=device)
        moves = None
        if constraint is not None:
            projector = constraint.basis @ constraint.basis.T
            own = projector.diagonal()[:, None]
            # A component that the relations fix cannot leave its bounds by moving.
            moves = torch.where(own > 1e-10, projector / own.clamp(min=1e-10), 0.0).to(table)
        return cls(table[:, 0], table[:, 1], moves)

    def reflect(self, before: Tensor, z: Tensor) -> Tensor:
        """Bring states back that a step took beyond the walls.

        Args:
            before: States before the step, within the walls, shape [..., d].
            z: States after it, the same shape.

        Returns:
            The states within the walls. What is beyond another wall after its reflection is
            clamped; under a constraint it stops at that wall on its way from `before`.
        """
        if self.moves is None:
            z = torch.where(z < self.low, 2.0 * self.low - z, z)
            z = torch.where(z > self.high, 2.0 * self.high - z, z)
            return torch.minimum(torch.maximum(z, self.low), self.high)
        beyond = (z - self.high).clamp(min=0.0) - (self.low - z).clamp(min=0.0)
        z = z - 2.0 * beyond @ self.moves
        step = z - before
        wall = torch.where(step > 0, self.high, self.low)
        outside = (z < self.low) | (z > self.high)
        share = torch.where(outside, (wall - before) / step, 1.0).amin(-1, keepdim=True)
        return torch.where(share < 1.0, before + share.clamp(0.0, 1.0) * step, z)
