"""What makes every input and output of a latent model of order one."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Scalers:
    """What makes every input and output of a latent model of order one.

    Attributes:
        z_mean: Mean of z, shape [d].
        z_scale: Standard deviation of z, shape [d].
        condition_mean: Mean of the conditions, shape [c].
        condition_scale: Standard deviation of the conditions, shape [c].
        drift_scale: Typical size of the drift (not of the noise), shape [d], per unit time.
        diffusion_scale: Reference factor L_ref of the covariance rate, L_ref L_ref^T, shape [d, d].
    """

    z_mean: Tensor
    z_scale: Tensor
    condition_mean: Tensor
    condition_scale: Tensor
    drift_scale: Tensor
    diffusion_scale: Tensor

    def __post_init__(self) -> None:
        """Refuse shapes and values that scale nothing."""
        d, c = len(self.z_mean), len(self.condition_mean)
        shapes = {
            "z_scale": (d,),
            "condition_scale": (c,),
            "drift_scale": (d,),
            "diffusion_scale": (d, d),
        }
        for name, shape in shapes.items():
            if (given := tuple(getattr(self, name).shape)) != shape:
                raise ValueError(f"Scaler {name} must have shape {shape}, got {given}")
        for name in ("z_scale", "condition_scale", "drift_scale"):
            if not bool((getattr(self, name) > 0).all()):
                raise ValueError(f"Scaler {name} must be positive, got {getattr(self, name)}")
        if not bool(torch.linalg.slogdet(self.diffusion_scale.double())[0].abs() > 0):
            raise ValueError("Scaler diffusion_scale must have an inverse")

    @classmethod
    def identity(cls, variables: int, conditions: int) -> Scalers:
        """Scalers that change nothing."""
        d, c = variables, conditions
        return cls(
            z_mean=torch.zeros(d),
            z_scale=torch.ones(d),
            condition_mean=torch.zeros(c),
            condition_scale=torch.ones(c),
            drift_scale=torch.ones(d),
            diffusion_scale=torch.eye(d),
        )

    def as_dict(self) -> dict[str, Tensor]:
        """The scalers by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class Standardising(Protocol):
    """What knows mean and scale of z and of the conditions: `Scalers`, or an ensemble."""

    @property
    def z_mean(self) -> Tensor: ...  # noqa: D102
    @property
    def z_scale(self) -> Tensor: ...  # noqa: D102
    @property
    def condition_mean(self) -> Tensor: ...  # noqa: D102
    @property
    def condition_scale(self) -> Tensor: ...  # noqa: D102


def standardised(scalers: Standardising, z: Tensor, conditions: Tensor) -> Tensor:
    """Standardised inputs of a latent model, in the precision of z.

    Args:
        scalers: Mean and scale.
        z: What the members model, shape [..., d].
        conditions: Shape [..., c], as many as z.

    Returns:
        Shape [..., d + c].
    """
    z = (z - scalers.z_mean.to(z)) / scalers.z_scale.to(z)
    conditions = (conditions - scalers.condition_mean.to(z)) / scalers.condition_scale.to(z)
    return torch.cat([z, conditions], dim=-1)
