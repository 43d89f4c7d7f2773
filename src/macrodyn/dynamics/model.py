"""An ensemble of drift and diffusion networks, evaluated together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from macrodyn.dynamics.domain import Domain
from macrodyn.paths import StrPath
from macrodyn.storage.models import check_kind, load_model, save_model

Activation = Literal["silu", "tanh"]
CovarianceForm = Literal["full", "diagonal", "constant"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": nn.functional.silu,
    "tanh": torch.tanh,
}
# softplus(x + this) is 1 at x = 0: an untrained network returns the reference covariance.
SOFTPLUS_ONE = math.log(math.e - 1.0)


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What the networks look like.

    Attributes:
        variables: Number of macroscopic variables d.
        conditions: Number of conditions c; 0 for none.
        members: Number of ensemble members E.
        hidden: Widths of the hidden layers, the same for drift and diffusion.
        activation: `silu` or `tanh`; `silu` is several times faster on a CPU.
        covariance: `full` or `diagonal` networks of z, or one `constant` full matrix per member.
    """

    variables: int
    conditions: int = 0
    members: int = 5
    hidden: tuple[int, ...] = (64, 64)
    activation: Activation = "silu"
    covariance: CovarianceForm = "full"

    def __post_init__(self) -> None:
        """Refuse sizes that make no network."""
        if self.variables < 1 or self.conditions < 0 or self.members < 1:
            raise ValueError(f"Need variables >= 1, conditions >= 0, members >= 1, got {self}")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"Need at least one hidden layer of width >= 1, got {self.hidden}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"Unknown activation {self.activation!r}: {sorted(ACTIVATIONS)}")
        if self.covariance not in ("full", "diagonal", "constant"):
            raise ValueError(f"covariance is {self.covariance!r}: full, diagonal or constant")


@dataclass(frozen=True, kw_only=True)
class Scalers:
    """What makes every network input and output of order one.

    Attributes:
        z_mean: Mean of z, shape [d].
        z_scale: Standard deviation of z, shape [d].
        condition_mean: Mean of the conditions, shape [c].
        condition_scale: Standard deviation of the conditions, shape [c].
        drift_scale: Typical size of the drift (not of the noise), shape [d], per unit time.
        diffusion_scale: Reference Cholesky factor of the covariance rate, shape [d, d].
        linear_drift: First guess of the drift in standardised units, shape [1 + d + c, d]:
            intercept, then one row for each standardised input.
    """

    z_mean: Tensor
    z_scale: Tensor
    condition_mean: Tensor
    condition_scale: Tensor
    drift_scale: Tensor
    diffusion_scale: Tensor
    linear_drift: Tensor

    @classmethod
    def identity(cls, architecture: Architecture) -> Scalers:
        """Scalers that change nothing, and a zero first guess of the drift."""
        d, c = architecture.variables, architecture.conditions
        return cls(
            z_mean=torch.zeros(d),
            z_scale=torch.ones(d),
            condition_mean=torch.zeros(c),
            condition_scale=torch.ones(c),
            drift_scale=torch.ones(d),
            diffusion_scale=torch.eye(d),
            linear_drift=torch.zeros(1 + d + c, d),
        )


class EnsembleSDE(nn.Module):
    """Drift mu(z) and covariance rate Sigma(z) of dz = mu dt + Sigma^(1/2) dB, E times.

    Member e is a pair of multilayer perceptrons, independent of the other members; all are
    evaluated at once, as batched matrix products over parameters of shape [2 E, in, out] (drift
    networks first). The drift is a linear map plus the network, so that it extrapolates gently.
    Sigma = L L^T is the covariance of dz per unit time of the whole system (without the factor
    K/m of a partial observation); L = L_ref M(z), where L_ref is the constant
    `diffusion_scale` and M is lower triangular with a softplus diagonal, so Sigma is positive
    definite without an epsilon.

    Attributes:
        metadata: What was saved with it (see `save`).

    Args:
        architecture: Sizes and forms.
        scalers: Standardisation; identity if None.
        seed: Seed of the initial parameters; member e's do not depend on the number of members.

    Source: eq. (6) of arXiv:2511.12842.
    """

    z_mean: Tensor
    z_scale: Tensor
    condition_mean: Tensor
    condition_scale: Tensor
    drift_scale: Tensor
    diffusion_scale: Tensor
    triangle_map: Tensor
    on_diagonal: Tensor

    def __init__(
        self, architecture: Architecture, scalers: Scalers | None = None, *, seed: int = 0
    ) -> None:
        """Build the networks with seeded initial parameters."""
        super().__init__()
        self.architecture = architecture
        self._domain: Domain | None = None
        self.metadata: dict[str, Any] = {}
        scalers = scalers or Scalers.identity(architecture)
        _check_scalers(architecture, scalers)
        d, members = architecture.variables, architecture.members
        for name in ("z_mean", "z_scale", "condition_mean", "condition_scale", "drift_scale"):
            self.register_buffer(name, getattr(scalers, name).to(torch.float32).clone())
        reference = scalers.diffusion_scale.to(torch.float32).clone()
        if architecture.covariance == "diagonal":
            reference = torch.diag(reference.square().sum(1).sqrt())
        self.register_buffer("diffusion_scale", reference)
        rows, columns = self.triangle_indices()
        triangle_map = torch.zeros(len(rows), d, d)
        triangle_map[torch.arange(len(rows)), :, columns] = reference[:, rows].T
        self.register_buffer("triangle_map", triangle_map.reshape(len(rows), d * d))
        self.register_buffer("on_diagonal", rows == columns, persistent=False)

        groups = 1 if architecture.covariance == "constant" else 2
        widths = [d + architecture.conditions, *architecture.hidden]
        generators = [
            torch.Generator().manual_seed(
                int(np.random.SeedSequence([seed, e]).generate_state(1, np.uint64)[0])
            )
            for e in range(members)
        ]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in pairwise(widths):
            self.weights.append(_normal(generators, groups, fan_in, fan_out, gain=1.5))
            self.biases.append(_normal(generators, groups, 1, fan_out, gain=0.5))
        self.drift_out = _normal(generators, 1, widths[-1], d, gain=0.1)
        linear = scalers.linear_drift.to(torch.float32)
        self.drift_bias = nn.Parameter(linear[None, :1].repeat(members, 1, 1))
        self.drift_linear = nn.Parameter(linear[None, 1:].repeat(members, 1, 1))
        if groups == 2:
            self.diffusion_out = _normal(generators, 1, widths[-1], len(rows), gain=0.1)
        self.diffusion_bias = nn.Parameter(torch.zeros(members, 1, len(rows)))

    @property
    def domain(self) -> Domain:
        """Range of the data it was trained on; training sets it.

        Raises:
            ValueError: If it was not trained.
        """
        if self._domain is None:
            raise ValueError("The ensemble does not say what range of data it was trained on")
        return self._domain

    @domain.setter
    def domain(self, domain: Domain) -> None:
        self._domain = domain

    def triangle_indices(self) -> tuple[Tensor, Tensor]:
        """Row and column of each raw output of the diffusion networks."""
        d = self.architecture.variables
        if self.architecture.covariance == "diagonal":
            return torch.arange(d), torch.arange(d)
        indices = torch.tril_indices(d, d)
        return indices[0], indices[1]

    def forward(self, z: Tensor, conditions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Drift and Cholesky factor at once, in one pass of batched products.

        Args:
            z: Macroscopic states, shape [E or 1, batch, d] or [batch, d].
            conditions: Shape [E or 1, batch or 1, c] or [batch or 1, c]; None if c = 0.

        Returns:
            The drift, shape [E, batch, d], and the lower triangular L, shape [E, batch, d, d].
        """
        inputs = self._inputs(z, conditions)
        members = self.architecture.members
        if self.architecture.covariance == "constant":
            return self._drift_head(inputs, self._hidden(inputs, 0, members)), (
                self._cholesky_head(None, inputs)
            )
        hidden = self._hidden(inputs.repeat(2, 1, 1), 0, 2 * members)
        return (
            self._drift_head(inputs, hidden[:members]),
            self._cholesky_head(hidden[members:], inputs),
        )

    def drift(self, z: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Drift mu(z) per unit time, shape [E, batch, d]; arguments as in `forward`."""
        inputs = self._inputs(z, conditions)
        return self._drift_head(inputs, self._hidden(inputs, 0, self.architecture.members))

    def cholesky(self, z: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Lower triangular L with Sigma = L L^T, shape [E, batch, d, d]; arguments as `forward`."""
        inputs = self._inputs(z, conditions)
        members = self.architecture.members
        if self.architecture.covariance == "constant":
            return self._cholesky_head(None, inputs)
        return self._cholesky_head(self._hidden(inputs, members, 2 * members), inputs)

    def covariance(self, z: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Covariance rate Sigma(z) of the whole system, shape [E, batch, d, d]."""
        factor = self.cholesky(z, conditions)
        return factor @ factor.transpose(-1, -2)

    def triangle(self, raw: Tensor) -> Tensor:
        """Cholesky factor from raw network output, [..., d (d+1) / 2] to [..., d, d]."""
        d = self.architecture.variables
        positive = nn.functional.softplus(raw + SOFTPLUS_ONE)
        entries = torch.where(self.on_diagonal, positive, raw)
        return (entries @ self.triangle_map).unflatten(-1, (d, d))

    def standardise_conditions(self, conditions: Tensor) -> Tensor:
        """Conditions in the networks' units.

        Args:
            conditions: Shape [..., c], in the units of the study.

        Returns:
            The same shape, with mean 0 and standard deviation 1 over the training data.
        """
        return (conditions - self.condition_mean) / self.condition_scale

    def _inputs(self, z: Tensor, conditions: Tensor | None) -> Tensor:
        architecture = self.architecture
        z = (z[None] if z.dim() == 2 else z).to(self.z_mean.dtype)
        if z.shape[-1] != architecture.variables:
            raise ValueError(f"The model has {architecture.variables} variables, z {z.shape[-1]}")
        z = ((z - self.z_mean) / self.z_scale).expand(architecture.members, -1, -1)
        if architecture.conditions == 0:
            return z
        if conditions is None or conditions.shape[-1] != architecture.conditions:
            given = None if conditions is None else tuple(conditions.shape)
            raise ValueError(
                f"The model needs {architecture.conditions} condition(s) per state, got {given}"
            )
        conditions = conditions[None] if conditions.dim() == 2 else conditions
        standardised = self.standardise_conditions(conditions.to(z.dtype))
        return torch.cat([z, standardised.expand(*z.shape[:-1], -1)], dim=-1)

    def _hidden(self, inputs: Tensor, first: int, last: int) -> Tensor:
        activation = ACTIVATIONS[self.architecture.activation]
        for weight, bias in zip(self.weights, self.biases, strict=True):
            inputs = activation(torch.baddbmm(bias[first:last], inputs, weight[first:last]))
        return inputs

    def _drift_head(self, inputs: Tensor, hidden: Tensor) -> Tensor:
        output = torch.baddbmm(self.drift_bias, inputs, self.drift_linear)
        return torch.baddbmm(output, hidden, self.drift_out) * self.drift_scale

    def _cholesky_head(self, hidden: Tensor | None, inputs: Tensor) -> Tensor:
        if hidden is None:
            return self.triangle(self.diffusion_bias).expand(-1, inputs.shape[1], -1, -1)
        return self.triangle(torch.baddbmm(self.diffusion_bias, hidden, self.diffusion_out))

    def save(self, path: StrPath, metadata: dict[str, Any] | None = None) -> None:
        """Write the model to `path` (.safetensors) and a JSON file beside it.

        Args:
            path: File of the weights and scalers.
            metadata: What the user of the model must know, as plain JSON values (names of the
                variables, dt, provenance); `load` gives it back as `model.metadata`.
        """
        description = {
            "kind": "EnsembleSDE",
            "architecture": asdict(self.architecture),
            "scalers": {
                name: getattr(self, name).tolist()
                for name in (
                    "z_mean",
                    "z_scale",
                    "condition_mean",
                    "condition_scale",
                    "drift_scale",
                    "diffusion_scale",
                )
            },
            "domain": None if self._domain is None else self._domain.as_dict(),
            "metadata": self.metadata if metadata is None else metadata,
        }
        save_model(path, dict(self.state_dict()), description)

    @classmethod
    def load(cls, path: StrPath, *, device: str | torch.device = "cpu") -> EnsembleSDE:
        """Read what `save` wrote.

        Args:
            path: File of the weights and scalers.
            device: Where to put the model.

        Raises:
            ModelKindError: If the file holds another kind of model.
            ModelFileError: If the files are missing or damaged.
            ValueError: If the model is of an earlier version.
        """
        tensors, description = load_model(path)
        check_kind(path, description, "EnsembleSDE")
        if "domain" not in description:
            raise ValueError(
                f"{path} holds an EnsembleSDE of an earlier version, which does not say what range "
                "of data it was trained on: train it again"
            )
        architecture = description["architecture"]
        model = cls(Architecture(**{**architecture, "hidden": tuple(architecture["hidden"])}))
        model.load_state_dict(tensors)
        domain = description["domain"]
        model._domain = None if domain is None else Domain.from_dict(domain)
        model.metadata = description["metadata"]
        return model.to(device)


def _normal(
    generators: list[torch.Generator], groups: int, fan_in: int, fan_out: int, *, gain: float
) -> nn.Parameter:
    """Normal initial parameters [groups E, fan_in, fan_out], each member from its own stream."""
    scale = gain / math.sqrt(fan_in)
    draws = [torch.randn(groups, fan_in, fan_out, generator=g) * scale for g in generators]
    return nn.Parameter(torch.stack(draws, dim=1).flatten(0, 1).contiguous())


def _check_scalers(architecture: Architecture, scalers: Scalers) -> None:
    d, c = architecture.variables, architecture.conditions
    expected = {
        "z_mean": (d,),
        "z_scale": (d,),
        "condition_mean": (c,),
        "condition_scale": (c,),
        "drift_scale": (d,),
        "diffusion_scale": (d, d),
        "linear_drift": (1 + d + c, d),
    }
    for name, shape in expected.items():
        if tuple(getattr(scalers, name).shape) != shape:
            raise ValueError(
                f"Scaler {name} must have shape {shape}, got {tuple(getattr(scalers, name).shape)}"
            )
    for name in ("z_scale", "condition_scale", "drift_scale"):
        if not bool((getattr(scalers, name) > 0).all()):
            raise ValueError(f"Scaler {name} must be positive, got {getattr(scalers, name)}")
    if not bool((scalers.diffusion_scale.diagonal() > 0).all()):
        raise ValueError("Scaler diffusion_scale needs a positive diagonal")
