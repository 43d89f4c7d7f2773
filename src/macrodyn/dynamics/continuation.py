"""What takes over where a model has seen no data."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from macrodyn.dynamics.scalers import Scalers

Array = NDArray[np.float64]

# How far beyond the data, in half widths of their outline, a model is evaluated; further out it is
# held, and fades over the same distance.
EDGE = 0.1
# Slowest return towards the data, over the drift's typical rate.
SLOWEST = 0.1
# Least half width of the outline, in standard deviations of the variables.
THINNEST = 0.01


class Continuation(nn.Module):
    """A drift that leads back to the data from where there were none.

    A network knows nothing there. Its drift may have a fixed point of its own, and a prediction
    that begins outside of the data ends in it. So a model is held at the edge of the data's
    outline, and its drift gives way to a linear one. Its share is

        w = 1 / (1 + (e / EDGE)^2),

    e the distance from that edge in half widths. The outline is a box along the principal axes of
    the standardised z: closure variables are often nearly functions of the observables, and a box
    along the variables is then empty for the most part. Inside, nothing is changed, to the bit.
    Conditions have no outline.

    Args:
        variables: Number of variables d that the members model.
        conditions: Number of conditions c.
    """

    axes: Tensor
    low: Tensor
    high: Tensor
    linear: Tensor

    def __init__(self, variables: int, conditions: int) -> None:
        super().__init__()
        endless = torch.full((variables,), torch.inf)
        self.register_buffer("axes", torch.eye(variables))
        self.register_buffer("low", -endless)
        self.register_buffer("high", endless)
        self.register_buffer("linear", torch.zeros(1 + variables + conditions, variables))

    def fit(
        self,
        inputs: Array,
        drift: Array,
        scalers: Scalers,
        *,
        step: float,
        thinnest: float = THINNEST,
    ) -> None:
        """Take the outline of the data, and the linear drift from what was learned on them.

        Args:
            inputs: Standardised inputs of all data, shape [N, d + c].
            drift: Learned drift in the members' units, shape [N, d].
            scalers: The members' units.
            step: Time of the increments, which is the longest step of a prediction.
            thinnest: Least half width of the outline, in the units of z. Where an axis along which
                data hardly spread is not blown up to unit variance, a network is smooth across it,
                and a prediction that leaves the data there by its own error is no stray.
        """
        d = drift.shape[1]
        z = inputs[:, :d]
        axes = np.linalg.eigh(np.atleast_2d(np.cov(z.T)))[1]
        along = z @ axes
        low, high = along.min(axis=0), along.max(axis=0)
        thin = np.maximum(thinnest - (high - low) / 2, 0.0)
        edge = EDGE * (high - low + 2 * thin) / 2
        ends = z.min(axis=0), z.max(axis=0)
        linear = contracting_fit(inputs, drift, scalers, *ends, step=step)
        for name, value in {
            "axes": axes,
            "low": low - thin - edge,
            "high": high + thin + edge,
            "linear": linear,
        }.items():
            getattr(self, name).copy_(torch.from_numpy(value))

    def hold(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Hold states at the edge of the outline.

        Args:
            inputs: Standardised inputs, shape [..., d + c].

        Returns:
            The same with z held, and the share w of the model's drift, shape [..., 1].
        """
        z, conditions = inputs.split([len(self.low), inputs.shape[-1] - len(self.low)], dim=-1)
        along = z @ self.axes
        beyond = along - torch.minimum(torch.maximum(along, self.low), self.high)
        half = (self.high - self.low) / (2.0 * (1.0 + EDGE))
        distance = (beyond / half).square().sum(-1, keepdim=True)
        held = torch.cat([z - beyond @ self.axes.T, conditions], dim=-1)
        return held, 1.0 / (1.0 + distance / EDGE**2)

    def blend(self, drift: Tensor, inputs: Tensor, share: Tensor) -> Tensor:
        """The drift, faded to the linear one.

        Args:
            drift: Of the held states, in the members' units, shape [..., d].
            inputs: Standardised inputs, not held, shape [..., d + c].
            share: As `hold` gives it.
        """
        linear = inputs @ self.linear[1:] + self.linear[0]
        return drift + (1.0 - share) * (linear - drift)


def contracting_fit(
    x: Array, drift: Array, scalers: Scalers, low: Array, high: Array, *, step: float
) -> Array:
    """The linear fit of the drift, made contracting towards a point in the data's range.

    Of its matrix only the symmetric part is kept, with eigenvalues of at most -`SLOWEST` times the
    drift's typical rate: the distance from its fixed point then falls along every trajectory; and
    of at least -1 / step: Euler's steps then do not jump over it. A fixed point outside of the
    range is moved to the nearest point of it.

    Args:
        x: Standardised inputs, shape [N, d + c].
        drift: The drift there in the members' units, shape [N, d].
        scalers: The members' units.
        low: Lowest values of the inputs, the variables first.
        high: Highest values.
        step: Longest step of a prediction.

    Returns:
        Intercept and rows of the inputs, in the members' units, shape [1 + d + c, d].
    """
    d = drift.shape[1]
    # Rates in units of the standardised variables.
    rate = (scalers.drift_scale / scalers.z_scale).double().numpy()
    speed = drift * rate
    middle = x.mean(axis=0)
    design = np.concatenate([np.ones((len(x), 1)), x - middle], axis=1)
    linear = np.linalg.lstsq(design, speed, rcond=1e-8)[0]
    matrix = linear[1 : 1 + d].T
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    spread = np.square(x[:, :d]).mean() + 1e-300
    slowest = -SLOWEST * np.sqrt(np.square(speed).mean() / spread)
    values = np.maximum(np.minimum(values, min(slowest, -1e-12)), -1.0 / step)
    matrix = (vectors * values) @ vectors.T
    fixed = middle[:d] - np.linalg.solve(matrix, linear[0])
    fixed = np.clip(fixed, low[:d], high[:d])
    found = np.zeros((1 + x.shape[1], d))
    found[1 : 1 + d] = matrix.T
    found[1 + d :] = linear[1 + d :]
    found[0] = -matrix @ fixed - middle[d:] @ linear[1 + d :]
    return found / rate
