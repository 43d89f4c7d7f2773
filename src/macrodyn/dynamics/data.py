"""Transitions of the macroscopic state, held on one device in whole."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from macrodyn.dynamics.compensation import Compensation
from macrodyn.dynamics.constraints import Coordinates, LinearConstraint
from macrodyn.dynamics.latents import LatentArrays, covariance_rates
from macrodyn.dynamics.scatter import lower_triangle, roots, scatter_factor
from macrodyn.learning.holdout import hold_out

if TYPE_CHECKING:
    import xarray as xr

Likelihood = Literal["mean", "patches"]
_BY_TRANSITION = ("factor", "patches", "within")


@dataclass(frozen=True, kw_only=True)
class TransitionData:
    """Observed transitions z -> z + increment.

    Attributes:
        z: Macroscopic state of the whole snapshot before, shape [N, d].
        increment: Increment averaged over the m evolved patches, shape [N, d].
        elapsed: Physical time of each transition, shape [N].
        conditions: External conditions (temperature, field, ...), shape [N, c]; c may be 0.
        group: Trajectory group of the snapshot, shape [N], int64.
        factor: Covariance of the increment over that of the whole system; K/m in theory. One
            number, or one for each transition, shape [N], where systems of several sizes are
            joined (`dynamics.union`).
        scatter: Lower triangular C [N, d, d] with C C^T = S / elapsed, S the scatter of the m
            increments around their mean (`scatter_factor`); None if only the mean is known.
        known: Whether C C^T is the covariance rate itself, known of each snapshot, `within` times
            that of the whole system. Increments then say nothing of the noise, and patches is 1.
        patches: m where there is a scatter, else 1; one number or shape [N], then with a scatter
            of zero where it is 1.
        within: E S / (m - 1) over the covariance of the whole system; K in theory. One number, or
            shape [N].
        compensated: What the drift is fitted to instead of `increment`, of the same mean and less
            noise (`dynamics.compensation`), shape [N, d]; None where there is nothing better.
    """

    z: Tensor
    increment: Tensor
    elapsed: Tensor
    conditions: Tensor
    group: Tensor
    factor: float | Tensor = 1.0
    scatter: Tensor | None = None
    patches: int | Tensor = 1
    within: float | Tensor = 1.0
    compensated: Tensor | None = None
    known: bool = False

    def __post_init__(self) -> None:
        """Refuse shapes and values that no likelihood can use."""
        n, d = self.z.shape
        shapes = {
            "increment": (tuple(self.increment.shape), (n, d)),
            "elapsed": (tuple(self.elapsed.shape), (n,)),
            "conditions": (tuple(self.conditions.shape[:1]), (n,)),
            "group": (tuple(self.group.shape), (n,)),
        }
        if self.compensated is not None:
            shapes["compensated"] = (tuple(self.compensated.shape), (n, d))
        if self.scatter is not None:
            shapes["scatter"] = (tuple(self.scatter.shape), (n, d, d))
        for name in _BY_TRANSITION:
            if isinstance(value := getattr(self, name), Tensor):
                shapes[name] = (tuple(value.shape), (n,))
        for name, (shape, expected) in shapes.items():
            if shape != expected:
                raise ValueError(f"{name} has shape {shape}, z needs {expected}")
        if n == 0:
            raise ValueError("No transitions: the data set is empty")
        if not _all_positive(self.factor):
            raise ValueError(f"The covariance factor must be positive, got {self.factor}")
        self._check_scatter()
        if not bool((self.elapsed > 0).all()):
            raise ValueError("Every elapsed time must be positive: drop transitions without time")
        for name in ("z", "increment", "elapsed", "conditions", "compensated"):
            values = getattr(self, name)
            if values is not None and not bool(torch.isfinite(values).all()):
                raise ValueError(f"{name} holds values that are not finite")

    def _check_scatter(self) -> None:
        if not _all_positive(self.within):
            raise ValueError(f"The factor within snapshots must be positive, got {self.within}")
        # Of several numbers all may be 1 in a part of the data, which keeps its scatter of zero.
        several = isinstance(self.patches, Tensor) or self.patches > 1
        if self.known:
            if several or self.scatter is None or self.compensated is None:
                raise ValueError(
                    "A known covariance is given as the scatter of one patch, and the drift's "
                    "increments as compensated ones"
                )
        elif several != (self.scatter is not None):
            given = "no" if self.scatter is None else "a"
            raise ValueError(
                f"patches is {self.patches} with {given} scatter: two patches or more have one, "
                "one patch has none"
            )
        if self.scatter is None:
            return
        if not bool(torch.isfinite(self.scatter).all()):
            raise ValueError("scatter holds values that are not finite")
        if bool(self.scatter.triu(1).any()):
            raise ValueError("scatter must be lower triangular: make it with scatter_factor")

    def __len__(self) -> int:
        """Number of transitions N."""
        return len(self.z)

    @property
    def drift_increment(self) -> Tensor:
        """What the drift is fitted to: the compensated increment, or the increment."""
        return self.increment if self.compensated is None else self.compensated

    @property
    def relative_noise(self) -> NDArray[np.float64] | None:
        """The factor where each transition has its own, shape [N]; None where all share one."""
        own = self.factor
        return own.double().cpu().numpy() if isinstance(own, Tensor) else None

    @property
    def shared_factor(self) -> float:
        """The factor that all transitions share; 1 where each has its own."""
        return 1.0 if isinstance(self.factor, Tensor) else self.factor

    @property
    def exposure(self) -> Tensor:
        """Weight of each transition's rate in a least-squares fit of the drift, shape [N].

        Inverse to its noise, but for a constant: the elapsed time, over the factor where each
        transition has its own.
        """
        own = self.factor
        return self.elapsed / own if isinstance(own, Tensor) else self.elapsed

    @property
    def variables(self) -> int:
        """Number of macroscopic variables d."""
        return self.z.shape[1]

    def select(self, index: Tensor) -> TransitionData:
        """The transitions at `index` (int64 or bool), in its order."""
        index = index.to(self.z.device)
        return replace(
            self,
            z=self.z[index],
            increment=self.increment[index],
            elapsed=self.elapsed[index],
            conditions=self.conditions[index],
            group=self.group[index],
            scatter=None if self.scatter is None else self.scatter[index],
            compensated=None if self.compensated is None else self.compensated[index],
            **{name: value[index] for name, value in self._by_transition().items()},
        )

    def to(self, device: str | torch.device) -> TransitionData:
        """The same transitions on another device."""
        return replace(
            self,
            z=self.z.to(device),
            increment=self.increment.to(device),
            elapsed=self.elapsed.to(device),
            conditions=self.conditions.to(device),
            group=self.group.to(device),
            scatter=None if self.scatter is None else self.scatter.to(device),
            compensated=None if self.compensated is None else self.compensated.to(device),
            **{name: value.to(device) for name, value in self._by_transition().items()},
        )

    def _by_transition(self) -> dict[str, Any]:
        """Of what may be one number for all: that which each transition has of its own."""
        found = {name: getattr(self, name) for name in _BY_TRANSITION}
        return {name: value for name, value in found.items() if isinstance(value, Tensor)}

    def split(self, fraction: float, *, seed: int) -> tuple[TransitionData, TransitionData]:
        """Divide into training and validation data by trajectory group.

        Args:
            fraction: Share of the transitions to validate on, 0 < fraction < 1.
            seed: Seed of the choice of groups.

        Returns:
            Training data and validation data, which share no group.
        """
        train, validation = hold_out(self.group.cpu().numpy(), fraction, seed=seed)
        return self.select(torch.as_tensor(train)), self.select(torch.as_tensor(validation))

    def within_constraint(self, constraint: LinearConstraint) -> TransitionData:
        """The same transitions in the free variables y of a linear constraint.

        Raises:
            ValueError: If they do not keep it.
        """
        constraint.check(self.z, self.increment)
        if self.compensated is not None:
            constraint.check(self.z, self.compensated)
        return self.along(constraint)

    def along(self, coordinates: Coordinates) -> TransitionData:
        """The same transitions in linear coordinates."""
        compensated = self.compensated
        if compensated is not None:
            compensated = coordinates.reduce_change(compensated)
        scatter = self.scatter
        if scatter is not None:
            moved = coordinates.reduce_change(scatter.mT)
            scatter = lower_triangle(moved.double()).to(scatter.dtype)
        return replace(
            self,
            z=coordinates.reduce(self.z),
            increment=coordinates.reduce_change(self.increment),
            scatter=scatter,
            compensated=compensated,
        )

    @classmethod
    def from_latents(
        cls,
        latents: xr.Dataset,
        *,
        factor: float | None = None,
        likelihood: Likelihood = "mean",
        within: float | None = None,
        lag: int = 0,
        compensation: Compensation | None = None,
        increment: NDArray[np.float64] | None = None,
        known: bool = False,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> TransitionData:
        """Read a latents data set: average over patches where their elapsed times agree.

        Where the patches of a snapshot were evolved for different times (`stop: events`), each
        patch becomes a transition of its own, and the factor of one patch, K, holds. These have no
        scatter, nor has a snapshot of one patch.

        Args:
            latents: Data set in the form of `latents_dataset`.
            factor: Covariance factor; K/m (or K, see above) if None.
            likelihood: `patches` keeps the scatter of a snapshot's patches, `mean` does not.
            within: Factor of the scatter; K if None.
            lag: Index along `lag`.
            compensation: What `compensate` made of the same lag: the drift is fitted to its
                increments, the covariance to those of the whole.
            increment: Other increments of each patch to which the covariance is fitted, shape
                [N, m, d].
            known: Whether the covariance is fitted to the expected covariance rates that the data
                set holds, in place of the increments; `within` is then n over the sites of the
                snapshots' own system, for Sigma of n sites.
            dtype: Precision of the tensors.
            device: Where to put them.

        Returns:
            The transitions.

        Raises:
            ValueError: If the likelihood is unknown, or the data set lacks something.

        Source: eq. (3) of arXiv:2511.12842.
        """
        if likelihood not in ("mean", "patches"):
            raise ValueError(f"likelihood is {likelihood!r}: use mean or patches")
        arrays = LatentArrays.from_dataset(latents, lag=lag)
        if increment is None and compensation is not None:
            increment = compensation.of_whole
        if increment is not None:
            arrays = replace(arrays, increment=increment)
        z, conditions, group = arrays.z, arrays.conditions, arrays.group
        if arrays.synchronous:
            increment, elapsed = arrays.increment.mean(axis=1), arrays.elapsed[:, 0]
        else:
            increment = arrays.increment.reshape(-1, z.shape[1])
            elapsed = arrays.elapsed.reshape(-1)
            z, conditions = (np.repeat(v, arrays.patches, axis=0) for v in (z, conditions))
            group = np.repeat(group, arrays.patches)

        def tensor(values: np.ndarray) -> Tensor:
            return torch.as_tensor(values, dtype=dtype).to(device)

        compensated = None if compensation is None else compensation.increment
        scatter = None
        if known:
            within = 1.0 if within is None else within
            rates = covariance_rates(latents)
            if len(z) > len(rates):
                rates = np.repeat(rates, arrays.patches, axis=0)
            scatter = lower_triangle(torch.from_numpy(roots(rates)).mT).to(device, dtype)
            compensated = increment if compensated is None else compensated
        elif likelihood == "patches" and arrays.averaged_patches > 1:
            within = arrays.patches_total if within is None else within
            scatter = tensor(scatter_factor(arrays.increment, elapsed))
        return cls(
            z=tensor(z),
            increment=tensor(increment),
            elapsed=tensor(elapsed),
            conditions=tensor(conditions),
            group=torch.as_tensor(group, dtype=torch.int64).to(device),
            factor=arrays.theoretical_factor if factor is None else float(factor),
            scatter=scatter,
            patches=1 if scatter is None or known else arrays.patches,
            within=1.0 if within is None or scatter is None else float(within),
            compensated=None if compensated is None else tensor(compensated),
            known=known,
        )


def _all_positive(value: float | Tensor) -> bool:
    return bool((torch.as_tensor(value) > 0).all())
