"""Fields on a line that react, diffuse and are kicked by noise: batches advanced in place.

The batch is the last axis, [channel, site, batch]: a shift along the line is then a shift in
memory, and every operation is a long loop. A batch is worked off in chunks that stay in the cache
of a core, or that fill a GPU. Neither chunks nor batch change a bit of any state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from macrodyn.systems.shared.integrators import Scheme, Workspace
from macrodyn.systems.shared.noise import NormalNoise
from macrodyn.systems.shared.steps import step_count

Reaction = Callable[[Tensor, Tensor, Tensor], None]
"""Adds the local part of the drift of a state [channel, site, batch] to its second argument, of the
same shape; the third, [site, batch], may be overwritten."""

# Values of a state, and of noise, that are worked on at a time.
_STATE_VALUES = {"cpu": 1 << 16, "cuda": 1 << 24}
_NOISE_VALUES = {"cpu": 1 << 16, "cuda": 1 << 24}


@dataclass(frozen=True)
class Dynamics:
    """What is integrated, and how.

    Attributes:
        reaction: Local part of the drift.
        diffusion: Coefficient of each channel, times [1, -2, 1].
        noise: Noise per site and square root of time.
        scheme: Integrator.
        step: Longest time step.
        device: ``cpu`` or ``cuda``.
    """

    reaction: Reaction
    diffusion: tuple[float, ...]
    noise: float
    scheme: Scheme
    step: float
    device: str = "cpu"


@dataclass(frozen=True)
class Segment:
    """Which sites of a window move, and what bounds them.

    Attributes:
        first: The first site that moves.
        last: The site after the last that moves.
        low_end: Whether the line ends before ``first``; otherwise that site is frozen.
        high_end: Whether the line ends with ``last - 1``; otherwise ``last`` is frozen.
        periodic: Whether the two ends are joined.
    """

    first: int
    last: int
    low_end: bool = True
    high_end: bool = True
    periodic: bool = False

    @classmethod
    def of_window(cls, sites: int, halo: int, low: int = 0, high: int = 0) -> Segment:
        """Find the sites that move in a window with a frozen halo.

        Args:
            sites: Sites of the window.
            halo: Frozen sites on each side; 0 for a whole line.
            low: Sites of the window that lie beyond the low end of the line.
            high: Sites of the window that lie beyond its high end.
        """
        if low < 0 or high < 0 or low + high >= sites:
            raise ValueError(
                f"a window of {sites} sites cannot have {low} and {high} sites beyond the ends of "
                "the line: at least one must be inside"
            )
        first, last = max(low, halo), sites - max(high, halo)
        return cls(first, last, first == low, last == sites - high)


class Diffusion:
    """The operator [1, -2, 1] on a segment, with closed ends, frozen neighbours or joined ends.

    It is the difference of the differences between neighbours. Across a closed end the difference
    is zero: the neighbour there is a copy of the end site, at every evaluation.

    Args:
        windows: Windows, shape [channel, site, batch]; their frozen sites are copied.
        segment: What moves in them.
        coefficients: One for each channel.
    """

    def __init__(self, windows: Tensor, segment: Segment, coefficients: tuple[float, ...]) -> None:
        channels, _, batch = windows.shape
        self._length = segment.last - segment.first
        self._periodic = segment.periodic
        self._low = None if segment.low_end else windows[:, segment.first - 1].clone()
        self._high = None if segment.high_end else windows[:, segment.last].clone()
        self._coefficients = coefficients
        self._differences = windows.new_zeros((channels, self._length + 1, batch))

    def __call__(self, x: Tensor, out: Tensor) -> None:
        """Write the diffusion of the moving sites [channel, site, batch] into ``out``."""
        jumps, length = self._differences, self._length
        for channel, coefficient in enumerate(self._coefficients):
            if coefficient == 0.0:
                out[channel].zero_()
                continue
            jump, field = jumps[channel], x[channel]
            torch.sub(field[1:], field[:-1], out=jump[1:length])
            if self._periodic:
                torch.sub(field[0], field[-1], out=jump[0])
                jump[length].copy_(jump[0])
            if self._low is not None:
                torch.sub(field[0], self._low[channel], out=jump[0])
            if self._high is not None:
                torch.sub(self._high[channel], field[-1], out=jump[length])
            torch.sub(jump[1:], jump[:-1], out=out[channel])
            if coefficient != 1.0:
                out[channel].mul_(coefficient)


def advance(
    windows: NDArray[np.float32],
    segment: Segment,
    dynamics: Dynamics,
    duration: float,
    keys: NDArray[np.uint64],
    kicked: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Advance windows that are bounded alike.

    The duration is cut into equal steps, none longer than ``dynamics.step``; see `step_count`.

    Args:
        windows: Shape [batch, channel, site]; left unchanged.
        segment: What moves in all of them.
        dynamics: What is integrated, and how.
        duration: Time.
        keys: One stream per window, shape [batch], uint64.
        kicked: If given, the noise of all steps is summed into it, shape [batch, channel, site].

    Returns:
        The windows afterwards.

    Raises:
        FloatingPointError: If a field has run away.
    """
    after = windows.copy()
    steps = step_count(duration, dynamics.step)
    if steps == 0 or segment.last <= segment.first:
        return after
    batch, channels, sites = windows.shape
    with torch.inference_mode():
        for part in _chunks(batch, channels * sites, dynamics.device):
            chunk = torch.from_numpy(after[part]).to(dynamics.device)
            moved, kicks = _integrate(
                chunk.permute(1, 2, 0).contiguous(),
                segment,
                dynamics,
                duration / steps,
                steps,
                keys[part],
                kicked is not None,
            )
            inside = (part, slice(None), slice(segment.first, segment.last))
            after[inside] = moved.permute(2, 0, 1).cpu().numpy()
            if kicked is not None and kicks is not None:
                kicked[inside] += kicks.permute(2, 0, 1).cpu().numpy()
    if not np.isfinite(after[:, :, segment.first : segment.last]).all():
        raise FloatingPointError(
            f"a field ran away to infinity within {duration}: choose a smaller step than "
            f"{dynamics.step}, less noise than {dynamics.noise}, or other initial states"
        )
    return after


def _chunks(batch: int, values: int, device: str) -> Iterator[slice]:
    """Cut a batch into nearly equal parts of about the right size for a device."""
    parts = max(1, round(batch * values / _STATE_VALUES[device]))
    edges = np.linspace(0, batch, min(parts, batch) + 1).round().astype(int)
    for start, stop in pairwise(edges):
        yield slice(int(start), int(stop))


def _integrate(
    windows: Tensor,
    segment: Segment,
    dynamics: Dynamics,
    step: float,
    steps: int,
    keys: NDArray[np.uint64],
    sum_kicks: bool,
) -> tuple[Tensor, Tensor | None]:
    """Advance one chunk [channel, site, batch]: its moving sites, and their noise if asked for."""
    channels, sites, batch = windows.shape
    inside = slice(segment.first, segment.last)
    x = windows[:, inside].clone()
    diffusion = Diffusion(windows, segment, dynamics.diffusion)
    scratch = torch.empty_like(x[0])
    work = Workspace.like(x)

    def drift(state: Tensor, out: Tensor) -> None:
        diffusion(state, out)
        dynamics.reaction(state, out, scratch)

    noise = None
    if dynamics.noise > 0:
        at_once = max(1, _NOISE_VALUES[dynamics.device] // (channels * sites * batch))
        noise = NormalNoise(
            keys,
            channels,
            sites,
            min(at_once, steps),
            dynamics.noise * step**0.5,
            dynamics.device,
        )
    kicks: Tensor | None = None
    total = torch.zeros_like(x) if sum_kicks else None
    for number in range(steps):
        kick = None
        if noise is not None:
            turn = number % noise.steps
            if turn == 0:
                kicks = noise.fill(number)
            assert kicks is not None
            kick = kicks[turn, :, inside]
            if total is not None:
                total.add_(kick)
        dynamics.scheme(x, drift, step, kick, work)
    return x, total


def field_drift(
    windows: NDArray[np.floating], segment: Segment, dynamics: Dynamics
) -> NDArray[np.float64]:
    """Drift of the sites that move, on the CPU in double precision.

    Args:
        windows: Shape [batch, channel, site].
        segment: What moves in all of them.
        dynamics: What is integrated.

    Returns:
        Shape [batch, channel, site], zero where nothing moves.
    """
    result = np.zeros(windows.shape)
    if segment.last <= segment.first:
        return result
    with torch.inference_mode():
        fields = torch.from_numpy(windows.astype(np.float64)).permute(1, 2, 0).contiguous()
        x = fields[:, segment.first : segment.last]
        out = torch.empty_like(x)
        Diffusion(fields, segment, dynamics.diffusion)(x, out)
        dynamics.reaction(x, out, torch.empty_like(x[0]))
        result[:, :, segment.first : segment.last] = out.permute(2, 0, 1).numpy()
    return result
