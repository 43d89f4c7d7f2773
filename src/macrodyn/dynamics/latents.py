"""The data set of latent pairs: what encoding writes, and what learning reads of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

EXCESS = "excess_"
"""What names of controls begin with that are excesses of rates."""
_VARIABLES = ("z", "increment", "elapsed", "controls", "condition_values", "group")
_COORDINATES = ("variable", "lag", "condition", "control")
_ATTRIBUTES = ("patches_total", "sites", "n_observables")


def latents_dataset(
    *,
    z: ArrayLike,
    increment: ArrayLike,
    elapsed: ArrayLike,
    condition_values: ArrayLike,
    group: ArrayLike,
    time: ArrayLike,
    variables: Sequence[str],
    lags: Sequence[int],
    conditions: Sequence[str],
    n_observables: int,
    patches_total: int,
    sites: int,
    dt: float,
    time_unit: str,
    controls: ArrayLike | None = None,
    control_names: Sequence[str] = (),
    covariance_rate: ArrayLike | None = None,
    rate: ArrayLike | None = None,
    beyond: ArrayLike | None = None,
) -> xr.Dataset:
    """Lay out latent pairs as encoding writes them.

    Args:
        z: Macroscopic state of the whole snapshot, shape [sample, variable].
        increment: Increment of z by the evolution of a patch, as if every patch changed so, shape
            [sample, patch, lag, variable].
        elapsed: Physical time of each pair, shape [sample, patch, lag].
        condition_values: External conditions, shape [sample, condition].
        group: Group of the snapshot, shape [sample]: all that began from one initial macrostate
            and shares small simulations.
        time: Age of the snapshot, shape [sample].
        variables: Names of the variables, the observables first.
        lags: Multiples of dt.
        conditions: Names of the conditions.
        n_observables: How many of the variables are observables.
        patches_total: Number of patches K of the large system.
        sites: Number of sites of the system whose z this is.
        dt: Physical time of the first lag.
        time_unit: Name of the unit of `elapsed`, `time` and `dt`.
        controls: What is zero on average, given the snapshot (`dynamics.compensation`), shape
            [sample, patch, lag, control]; None for none.
        control_names: Names of the controls.
        covariance_rate: Expected covariance rate of each snapshot
            (`PatchSystem.covariance_rates`), shape [sample, variable, variable]; None for none.
        rate: Expected rate of change of each snapshot's z, shape [sample, variable]; None for none.
        beyond: What the buffer of a patch has made of z, in the units of `increment`
            (`dynamics.buffer_noise`), shaped like it, NaN for variables of which it is not known;
            None where there is no buffer.

    Source: eq. (3) of arXiv:2511.12842.
    """
    if controls is None:
        controls = np.empty((*np.shape(elapsed), 0))
    known: dict[str, Any] = {}
    if covariance_rate is not None:
        known["covariance_rate"] = (
            ("sample", "variable", "variable_2"),
            np.asarray(covariance_rate),
            {"long_name": "expected covariance rate given the snapshot", "units": "1"},
        )
    if rate is not None:
        known["rate"] = (
            ("sample", "variable"),
            np.asarray(rate),
            {"long_name": "expected rate of change given the snapshot", "units": f"1/{time_unit}"},
        )
    if beyond is not None:
        known["beyond"] = (
            ("sample", "patch", "lag", "variable"),
            np.asarray(beyond),
            {"long_name": "increment of the macroscopic state by the buffer", "units": "1"},
        )
    return xr.Dataset(
        {
            **known,
            "z": (
                ("sample", "variable"),
                np.asarray(z),
                {"long_name": "macroscopic state of the whole snapshot", "units": "1"},
            ),
            "increment": (
                ("sample", "patch", "lag", "variable"),
                np.asarray(increment),
                {"long_name": "increment of the macroscopic state by a patch", "units": "1"},
            ),
            "elapsed": (
                ("sample", "patch", "lag"),
                np.asarray(elapsed),
                {"long_name": "time of the pair", "units": time_unit},
            ),
            "controls": (
                ("sample", "patch", "lag", "control"),
                np.asarray(controls),
                {"long_name": "zero on average given the snapshot", "units": "1"},
            ),
            "condition_values": (("sample", "condition"), np.asarray(condition_values)),
            "group": ("sample", np.asarray(group)),
            "time": ("sample", np.asarray(time), {"units": time_unit}),
        },
        coords={
            "variable": list(variables),
            "lag": list(lags),
            "condition": np.asarray(conditions, dtype=np.str_),
            "control": np.asarray(control_names, dtype=np.str_),
        },
        attrs={
            "patches_total": patches_total,
            "sites": sites,
            "dt": dt,
            "n_observables": n_observables,
        },
    )


def covariance_rates(latents: xr.Dataset) -> Floats:
    """Expected covariance rates of the snapshots, shape [sample, variable, variable].

    Raises:
        ValueError: If the data set holds none.
    """
    if "covariance_rate" not in latents:
        raise ValueError("The latents data set holds no expected covariance rates: make it again")
    order = ("sample", "variable", "variable_2")
    return latents.covariance_rate.transpose(*order).values.astype(np.float64)


def expected_rates(latents: xr.Dataset) -> Floats:
    """Expected rates of change of the snapshots, shape [sample, variable].

    Raises:
        ValueError: If the data set holds none.
    """
    if "rate" not in latents:
        raise ValueError("The latents data set holds no expected rates: make it again")
    return latents.rate.transpose("sample", "variable").values.astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class LatentArrays:
    """One lag of a latents data set as arrays, patches apart.

    Attributes:
        z: Shape [N, d].
        increment: Shape [N, m, d].
        elapsed: Shape [N, m].
        controls: Shape [N, m, control].
        conditions: Shape [N, c].
        group: Shape [N].
        patches_total: Number of patches K of the large system.
        n_observables: How many of the d variables, the first ones, are observables.
        beyond: What the buffers have made of z, shape [N, m, d], NaN where it is not known; None
            where there are none.
        excess: Which of the controls are excesses of rates: what the drawn patches have of their
            own, not what chance has made of them.
    """

    z: Floats
    increment: Floats
    elapsed: Floats
    controls: Floats
    conditions: Floats
    group: NDArray[np.int64]
    patches_total: int
    n_observables: int
    beyond: Floats | None = None
    excess: tuple[int, ...] = ()

    @property
    def patches(self) -> int:
        """Number of evolved patches m."""
        return int(self.increment.shape[1])

    @property
    def synchronous(self) -> bool:
        """Whether the patches of each snapshot were evolved for the same time."""
        return bool(np.allclose(self.elapsed, self.elapsed[:, :1], rtol=1e-9, atol=0.0))

    @property
    def averaged_patches(self) -> int:
        """Patches that one transition averages over: m, or 1 if the times differ."""
        return self.patches if self.synchronous else 1

    @property
    def theoretical_factor(self) -> float:
        """K/m, for m patches that fluctuate independently."""
        return self.patches_total / self.averaged_patches

    @classmethod
    def from_dataset(cls, latents: xr.Dataset, *, lag: int = 0) -> LatentArrays:
        """Read the arrays at one index along `lag`.

        Raises:
            ValueError: If a variable, coordinate or attribute is missing, or there is no such lag.
        """
        missing = [name for name in _VARIABLES if name not in latents]
        missing += [f"coordinate {name}" for name in _COORDINATES if name not in latents.coords]
        missing += [f"attribute {name}" for name in _ATTRIBUTES if name not in latents.attrs]
        if missing:
            raise ValueError(f"The latents data set lacks {', '.join(missing)}: make it again")
        lags = latents.sizes["lag"]
        if not 0 <= lag < lags:
            raise ValueError(f"lag index {lag} is not among the {lags} of the latents data set")

        def values(name: str, *order: str) -> Floats:
            array = latents[name].isel(lag=lag, missing_dims="ignore")
            return array.transpose(*order).values.astype(np.float64)

        return cls(
            z=values("z", "sample", "variable"),
            increment=values("increment", "sample", "patch", "variable"),
            elapsed=values("elapsed", "sample", "patch"),
            controls=values("controls", "sample", "patch", "control"),
            conditions=values("condition_values", "sample", "condition"),
            group=np.asarray(latents["group"].values, dtype=np.int64),
            patches_total=int(latents.attrs["patches_total"]),
            n_observables=int(latents.attrs["n_observables"]),
            beyond=values("beyond", "sample", "patch", "variable") if "beyond" in latents else None,
            excess=tuple(
                number
                for number, name in enumerate(latents["control"].values)
                if str(name).startswith(EXCESS)
            ),
        )
