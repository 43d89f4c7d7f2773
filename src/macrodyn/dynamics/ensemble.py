"""An ensemble of latent models, evaluated and trained together by `torch.func`."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from macrodyn.dynamics.constraints import Coordinates, LinearConstraint
from macrodyn.dynamics.continuation import THINNEST, Continuation
from macrodyn.dynamics.domain import Domain
from macrodyn.dynamics.latent import LatentModel, latent_model
from macrodyn.dynamics.scalers import Scalers, standardised
from macrodyn.paths import StrPath
from macrodyn.storage.models import check_kind, load_model, save_model

KIND = "latent-ensemble"
# States that are evaluated at once.
CHUNK = 65_536


class Ensemble(nn.Module):
    """Drift mu(z) and covariance rate Sigma(z) of dz = mu dt + Sigma^(1/2) dB, M times.

    The members are one latent model each, independent of the others; their parameters are stacked
    along a first dimension and evaluated at once. Sigma = L L^T is the covariance of dz per unit
    time of the whole system, without the factor K/m of a partial observation; L = L_ref M(z), with
    the constant L_ref of the scalers. Where a constraint z = z0 + B y holds, the members model y:
    drift and noise then lie in the constraint exactly, and L is B times that of y. So it is along
    principal axes (`principal_axes`), of z or of y.

    Attributes:
        metadata: What was saved with it (see `save`).
        continuation: What takes over outside of the data; training sets it.

    Args:
        kind: The latent model, see `latent_model`.
        variables: Number of macroscopic variables d.
        conditions: Number of conditions c; 0 for none.
        members: Number of members M.
        options: Options of the latent model.
        scalers: Standardisation of what the members model; identity if None.
        linear_drift: First guess of the drift in the members' units, see `LatentModel.begin`.
        seed: Seed of the initial parameters; a member's do not depend on the number of members.
        constraint: Exact linear relations among the variables; None for none.
        axes: Coordinates, of what the constraint leaves free, that the members model; None for
            these themselves.

    Source: eq. (6) of arXiv:2511.12842.
    """

    z_mean: Tensor
    z_scale: Tensor
    condition_mean: Tensor
    condition_scale: Tensor
    drift_scale: Tensor
    diffusion_scale: Tensor
    triangle_map: Tensor
    origin: Tensor
    coordinates: Tensor
    basis: Tensor

    def __init__(
        self,
        kind: str = "neural-sde",
        *,
        variables: int,
        conditions: int = 0,
        members: int = 5,
        options: dict[str, Any] | None = None,
        scalers: Scalers | None = None,
        linear_drift: Tensor | None = None,
        seed: int = 0,
        constraint: LinearConstraint | None = None,
        axes: Coordinates | None = None,
    ) -> None:
        super().__init__()
        if variables < 1 or conditions < 0 or members < 1:
            raise ValueError(
                f"Need variables >= 1, conditions >= 0, members >= 1, got {variables}, "
                f"{conditions}, {members}"
            )
        self.kind, self.options = kind, dict(options or {})
        self.variables, self.conditions, self.members = variables, conditions, members
        self.constraint, self.axes = constraint, axes
        self.metadata: dict[str, Any] = {}
        self._domain: Domain | None = None
        d = variables if constraint is None else constraint.free
        scalers = scalers or Scalers.identity(d, conditions)
        if (len(scalers.z_mean), len(scalers.condition_mean)) != (d, conditions):
            raise ValueError(
                f"The scalers are of {len(scalers.z_mean)} variables and "
                f"{len(scalers.condition_mean)} conditions, the model of {d} and {conditions}"
            )
        models = []
        for member in range(members):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(_member_seed(seed, member))
                models.append(latent_model(kind)(d, conditions, **self.options))
            if linear_drift is not None:
                models[-1].begin(linear_drift.to(torch.float32))
        if models[0].independent:
            spread = scalers.diffusion_scale.square().sum(1).sqrt()
            scalers = replace(scalers, diffusion_scale=torch.diag(spread))
        if models[0].structured:
            # One rate for all coordinates: a potential of the standardised ones is one of z.
            rate = (scalers.drift_scale / scalers.z_scale).square().mean().sqrt()
            scalers = replace(scalers, drift_scale=rate * scalers.z_scale)
        for name, value in scalers.as_dict().items():
            self.register_buffer(name, value.to(torch.float32).clone())
        self.register_buffer("triangle_map", _triangle_map(self.diffusion_scale))
        # What the members model, of the variables, and back.
        frame = constraint if axes is None else axes.within(constraint)
        self._in_frame = frame is not None
        if frame is not None:
            self.register_buffer("origin", frame.origin, persistent=False)
            self.register_buffer("coordinates", frame.inverse.T.contiguous(), persistent=False)
            self.register_buffer("basis", frame.basis.to(torch.float32), persistent=False)
        stacked, constants = stack_module_state(models)
        # A name of a parameter may hold no dot.
        self.stacked = nn.ParameterDict(
            {
                name.replace(".", "/"): nn.Parameter(value.detach())
                for name, value in stacked.items()
            }
        )
        self.constants = nn.Module()
        kept = models[0].state_dict()
        for name, value in constants.items():
            self.constants.register_buffer(name.replace(".", "/"), value, persistent=name in kept)
        self.continuation = Continuation(d, conditions)
        # Outside of the module's own children: its parameters are placeholders.
        self._template = (models[0].to("meta"),)

    @property
    def template(self) -> LatentModel:
        """One member, without values of its parameters."""
        return self._template[0]

    @property
    def noisy(self) -> bool:
        """Whether it has noise."""
        return self.template.noisy

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

    @property
    def log_volume(self) -> float:
        """Logarithm of what a volume in the members' coordinates is in the variables."""
        return 0.0 if self.axes is None else float(torch.linalg.slogdet(self.axes.basis)[1])

    def parameters_by_name(self) -> dict[str, Tensor]:
        """The members' parameters by their names in the latent model, stacked, [M, ...]."""
        return {name.replace("/", "."): value for name, value in self.stacked.items()}

    def constants_by_name(self) -> dict[str, Tensor]:
        """The members' buffers by their names in the latent model, stacked, [M, ...]."""
        return {name.replace("/", "."): b for name, b in self.constants.named_buffers()}

    def evaluate(
        self, parameters: dict[str, Tensor], inputs: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Evaluate all members in their own units; see `LatentModel.forward`.

        Args:
            parameters: The members' parameters, as `parameters_by_name` gives them.
            inputs: Standardised inputs, shape [M, batch, d + c].
        """
        constants = self.constants_by_name()

        def one(own: tuple[dict[str, Tensor], ...], x: Tensor) -> Any:
            result = functional_call(self.template, own, (x,))
            # A model without noise returns None, which `vmap` cannot stack.
            return result if self.noisy else result[:1]

        drift, *noise = vmap(one)((parameters, constants), inputs)
        return drift, noise[0] if noise else None

    def forward(self, z: Tensor, conditions: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Drift and noise at once.

        Where there were no data, `continuation` takes over.

        Args:
            z: Macroscopic states, shape [M or 1, batch, d] or [batch, d].
            conditions: Shape [M or 1, batch or 1, c] or [batch or 1, c]; None if c = 0.

        Returns:
            The drift per unit time, shape [M, batch, d]; and L with Sigma = L L^T, shape
            [M, batch, d, d], not always triangular (`cholesky`); under a constraint
            [M, batch, d, free]. None for a model without noise.

        Raises:
            ValueError: If the numbers of variables or conditions are others.
        """
        given = self._inputs(z, conditions)
        own = self.template.continues
        inputs, share = (given, None) if own else self.continuation.hold(given)
        drift, triangle = self.evaluate(self.parameters_by_name(), inputs)
        if share is not None:
            drift = self.continuation.blend(drift, given, share)
        drift = drift * self.drift_scale
        factor = None
        if triangle is not None:
            size = len(self.z_mean)
            factor = (triangle @ self.triangle_map).unflatten(-1, (size, size))
        if self._in_frame:
            drift = drift @ self.basis.T
            factor = None if factor is None else self.basis @ factor
        return drift, factor

    def drift(self, z: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Drift mu(z) per unit time, shape [M, batch, d]; arguments as in `forward`."""
        return self(z, conditions)[0]

    def cholesky(self, z: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Factor L with Sigma = L L^T, [M, batch, d, d]; arguments as in `forward`.

        It is lower triangular, but under a constraint [M, batch, d, free].

        Raises:
            ValueError: If the model has no noise.
        """
        factor = self._factor(z, conditions)
        if self.axes is None or self.constraint is not None:
            return factor
        found: Tensor = torch.linalg.cholesky((factor @ factor.mT).double())
        return found.to(factor.dtype)

    def covariance(self, z: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Covariance rate Sigma(z) of the whole system, shape [M, batch, d, d]."""
        factor = self._factor(z, conditions)
        return factor @ factor.mT

    def _factor(self, z: Tensor, conditions: Tensor | None) -> Tensor:
        """L as of `forward`, where there is noise."""
        factor = self(z, conditions)[1]
        if factor is None:
            raise ValueError(f"The latent model {self.kind} has no noise")
        return factor

    @torch.no_grad()
    def continue_outside(
        self,
        z: Tensor,
        conditions: Tensor,
        scalers: Scalers,
        *,
        step: float,
        thinnest: float = THINNEST,
    ) -> None:
        """Set what takes over outside of the data, from the members' mean drift on them.

        Args:
            z: All states that were learned from, in the members' variables, shape [N, d].
            conditions: Shape [N, c].
            scalers: The members' units, in double precision.
            step: Longest step of a prediction.
            thinnest: Least half width of the outline, see `Continuation.fit`.
        """
        inputs = standardised(self, z, conditions)
        parameters = self.parameters_by_name()
        drift = [
            self.evaluate(parameters, chunk.expand(self.members, -1, -1))[0].mean(0)
            for chunk in inputs.split(CHUNK)
        ]
        found = torch.cat(drift).double().numpy()
        x = inputs.double().numpy()
        self.continuation.fit(x, found, scalers, step=step, thinnest=thinnest)

    def noise_scale(self, sites: int) -> float:
        """By how much to scale the noise for a system of so many sites, see `integrate`.

        Observables are means over n sites: at one z, drift and n Sigma are those of any n, but for
        corrections of order 1/n.

        Args:
            sites: Sites n' of the system that is predicted.

        Returns:
            sqrt(n / n'), where n is the number of sites that it was trained on.

        Raises:
            ValueError: If its metadata does not say that, as ``sites``.
        """
        if "sites" not in self.metadata:
            raise ValueError("The ensemble does not say how many sites it was trained on")
        return math.sqrt(self.metadata["sites"] / sites)

    def _inputs(self, z: Tensor, conditions: Tensor | None) -> Tensor:
        z = (z[None] if z.dim() == 2 else z).to(self.z_mean.dtype)
        if z.shape[-1] != self.variables:
            raise ValueError(f"The model has {self.variables} variables, z {z.shape[-1]}")
        if self._in_frame:
            # In double precision: a thin axis is a small difference of large numbers.
            z = ((z.double() - self.origin) @ self.coordinates).to(z.dtype)
        if self.conditions == 0:
            return standardised(self, z, z[..., :0]).expand(self.members, -1, -1)
        z = z.expand(self.members, -1, -1)
        if conditions is None or conditions.shape[-1] != self.conditions:
            given = None if conditions is None else tuple(conditions.shape)
            raise ValueError(
                f"The model needs {self.conditions} condition(s) per state, got {given}"
            )
        conditions = (conditions[None] if conditions.dim() == 2 else conditions).to(z.dtype)
        return standardised(self, z, conditions.expand(*z.shape[:-1], -1))

    def save(self, path: StrPath, metadata: dict[str, Any] | None = None) -> None:
        """Write the model to `path` (.safetensors) and a JSON file beside it.

        Args:
            path: File of the weights and scalers.
            metadata: What the user of the model must know, as plain JSON values (names of the
                variables, dt, provenance); `load` gives it back as `model.metadata`.
        """
        facts = ("variables", "conditions", "members", "options")
        constraint, axes = self.constraint, self.axes
        description = {
            "kind": KIND,
            "model": self.kind,
            **{name: getattr(self, name) for name in facts},
            "constraint": None if constraint is None else constraint.as_dict(),
            "axes": None if axes is None else axes.as_dict(),
            "domain": None if self._domain is None else self._domain.as_dict(),
            "metadata": self.metadata if metadata is None else metadata,
        }
        save_model(path, dict(self.state_dict()), description)

    @classmethod
    def load(cls, path: StrPath, *, device: str | torch.device = "cpu") -> Ensemble:
        """Read what `save` wrote.

        Args:
            path: File of the weights and scalers.
            device: Where to put the model.

        Raises:
            ModelKindError: If the file holds another kind of model.
            ModelFileError: If the files are missing or damaged.
            ValueError: If its latent model is not known here.
        """
        tensors, description = load_model(path)
        check_kind(path, description, KIND)
        constraint, domain = description["constraint"], description["domain"]
        axes = description.get("axes")
        try:
            latent_model(description["model"], trusted=False)
        except ValueError as error:
            raise ValueError(f"{path} cannot be opened: {error}") from None
        model = cls(
            description["model"],
            variables=description["variables"],
            conditions=description["conditions"],
            members=description["members"],
            options=description["options"],
            constraint=None if constraint is None else LinearConstraint.from_dict(constraint),
            axes=None if axes is None else Coordinates.from_dict(axes),
        )
        model.load_state_dict(tensors)
        model._domain = None if domain is None else Domain.from_dict(domain)
        model.metadata = description["metadata"]
        return model.to(device)


def _member_seed(seed: int, member: int) -> int:
    state = np.random.SeedSequence([seed, member]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def _triangle_map(reference: Tensor) -> Tensor:
    """Map of the lower triangle of M, row by row, to L_ref M, shape [d (d + 1) / 2, d d]."""
    d = len(reference)
    rows, columns = torch.tril_indices(d, d)
    found = torch.zeros(len(rows), d, d)
    found[torch.arange(len(rows)), :, columns] = reference[:, rows].T
    return found.reshape(len(rows), d * d)
