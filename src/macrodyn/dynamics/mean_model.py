"""The mean model of an ensemble: one drift and one covariance, beside the members'."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from macrodyn.dynamics.ensemble import Ensemble


class WithMean(nn.Module):
    """An ensemble of M members with its mean model as member M (from 0).

    The mean model has the mean drift, and the mean covariance, of the members that are kept. It is
    a Markov process of its own: not the mean of the members' trajectories, which in a bistable
    system may lie between the states.

    Args:
        ensemble: The ensemble.
        kept: Members that the means are over, from 0.

    Raises:
        ValueError: If no member is kept, or one of them is none.
    """

    kept: Tensor

    def __init__(self, ensemble: Ensemble, kept: Sequence[int]) -> None:
        super().__init__()
        if not kept or min(kept) < 0 or max(kept) >= ensemble.members:
            raise ValueError(f"Keep some of the {ensemble.members} members, got {list(kept)}")
        self.ensemble = ensemble
        self.register_buffer("kept", torch.tensor(sorted(set(kept))))
        self.members = ensemble.members + 1
        self.variables, self.conditions = ensemble.variables, ensemble.conditions
        self.constraint = ensemble.constraint

    @property
    def z_mean(self) -> Tensor:
        """A tensor of the ensemble, which says where it is."""
        return self.ensemble.z_mean

    def forward(self, z: Tensor, conditions: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Drift and factor of the members and of their mean; see `Ensemble.forward`.

        Args:
            z: States, the last ones those of the mean model, shape [M + 1, batch, d].
            conditions: Shape [batch or 1, c]; None if c = 0.
        """
        members, batch = self.members - 1, z.shape[1]
        # In one call: the members at their own states, and all at those of the mean model.
        both = torch.cat([z[:members], z[members:].expand(members, -1, -1)], dim=1)
        if conditions is not None:
            conditions = conditions.expand(batch, -1).repeat(2, 1)
        drift, factor = self.ensemble(both, conditions)
        mean = drift[self.kept, batch:].mean(dim=0, keepdim=True)
        drift = torch.cat([drift[:, :batch], mean])
        if factor is None:
            return drift, None
        shared = factor[self.kept, batch:]
        basis = None if self.constraint is None else self.constraint.basis.to(factor)
        if basis is not None:
            shared = basis.T @ shared
        covariance = (shared @ shared.mT).mean(dim=0, keepdim=True)
        # A trajectory that is lost is not finite, and shall not stop the others.
        triangle = torch.linalg.cholesky_ex(covariance)[0]
        triangle = triangle if basis is None else basis @ triangle
        return drift, torch.cat([factor[:, :batch], triangle])

    def drift(self, z: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Drift of the members and of their mean, shape [M + 1, batch, d]."""
        return self(z, conditions)[0]
