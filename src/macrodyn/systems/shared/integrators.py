"""Integrators of dx = f(x) dt + s dW with additive noise, in place on tensors of any shape.

Only sums and products of two numbers are formed, each rounded by itself: no fused operations, whose
use depends on where in a vector an entry stands. So a state has the same bits whatever it is
batched with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Drift = Callable[[Tensor, Tensor], None]
"""Writes f(x), of the shape of x, into its second argument."""


@dataclass(frozen=True)
class Workspace:
    """Buffers of the shape of the state that a step may overwrite."""

    slope: Tensor
    total: Tensor
    stage: Tensor

    @classmethod
    def like(cls, x: Tensor) -> Workspace:
        """Make buffers for a state."""
        return cls(*(torch.empty_like(x) for _ in range(3)))


Scheme = Callable[[Tensor, Drift, float, Tensor | None, Workspace], None]
"""One step in place: state, drift, step dt, noise s dW of the step or None, buffers."""


def euler_maruyama_step(
    x: Tensor, drift: Drift, step: float, kick: Tensor | None, work: Workspace
) -> None:
    """Advance x by x + f(x) dt + s dW.

    For additive noise its strong and its weak order are both 1: it is then the Milstein scheme.

    Source: Kloeden, Platen, Numerical Solution of Stochastic Differential Equations (1992), 10.2
    and 10.3.

    Args:
        x: State, overwritten.
        drift: The drift f.
        step: Time step dt.
        kick: Noise of the step, s dW: normal with variance s^2 dt, shape of x; None without noise.
        work: Buffers.
    """
    slope = work.slope
    drift(x, slope)
    x.add_(slope.mul_(step))
    if kick is not None:
        x.add_(kick)


def runge_kutta_step(
    x: Tensor, drift: Drift, step: float, kick: Tensor | None, work: Workspace
) -> None:
    """Advance x by the classical four-stage Runge-Kutta scheme, noise in its last two stages.

    The stages are at x, x + k1 dt/2, x + k2 dt/2 + s dW, x + k3 dt + s dW; the step ends at
    x + (k1 + 2 k2 + 2 k3 + k4) dt/6 + s dW. Without noise it is the classical scheme, of order 4.

    With additive noise the strong order is 1 and the weak order 2, also for nonlinear drifts. With
    weights b = (1, 2, 2, 1)/6 and noise g_i s dW in stage i, the step is, up to terms that do not
    count at these orders, ::

        x + f dt + s dW + (sum b g) f' s dW dt + (f' f + (sum b g^2) f'' s^2 dW^2/dt) dt^2/2

    The simplified weak Taylor scheme of order 2.0 for additive noise has sum b g = 1/2 and, for the
    mean of dW^2 = dt, sum b g^2 = 1/2. Here g = (0, 0, 1, 1) meets both. The more obvious g = (0,
    1/2, 1/2, 1), the noise as a force s dW/dt that is constant during the step, has sum b g^2 =
    1/3: where the drift is not linear, its weak order is 1, for the drift of the mean is wrong by
    f'' s^2 dt/12.

    Source: the weak Taylor scheme: Kloeden, Platen (1992), 14.2; the comparison is done here.

    Args:
        x: State, overwritten.
        drift: The drift f.
        step: Time step dt.
        kick: Noise of the step, s dW: normal with variance s^2 dt, shape of x; None without noise.
        work: Buffers.
    """
    slope, total, stage = work.slope, work.total, work.stage
    drift(x, total)

    torch.mul(total, 0.5 * step, out=stage)
    stage.add_(x)
    drift(stage, slope)
    torch.mul(slope, 0.5 * step, out=stage)
    total.add_(slope.mul_(2.0))

    stage.add_(x)
    if kick is not None:
        stage.add_(kick)
    drift(stage, slope)
    torch.mul(slope, step, out=stage)
    total.add_(slope.mul_(2.0))

    stage.add_(x)
    if kick is not None:
        stage.add_(kick)
    drift(stage, slope)
    total.add_(slope)

    x.add_(total.mul_(step / 6.0))
    if kick is not None:
        x.add_(kick)


SCHEMES: dict[str, Scheme] = {
    "euler-maruyama": euler_maruyama_step,
    "runge-kutta": runge_kutta_step,
}
"""The integrators by name."""
