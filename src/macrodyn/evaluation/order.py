"""Moments of an order parameter at equilibrium: sampled, and of a model's stationary density.

Of x, which may have either sign, <|x|>, the variance <x^2> - <|x|>^2, and the Binder cumulant
U = 1 - <x^4> / (3 <x^2>^2): 2/3 where x has one size, 0 where it is normal around zero.

Source: Binder, Z. Phys. B 43, 119 (1981).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

NAMES = ("absolute", "variance", "binder")


def order_of_samples(chains: ArrayLike) -> dict[str, dict[str, float]]:
    """Moments of sampled values, with standard errors by leaving out one chain after the other.

    Args:
        chains: Independent chains, shape [chain, sample]; two or more.
    """
    x = np.asarray(chains, np.float64)
    powers = np.stack([np.abs(x).mean(axis=1), (x**2).mean(axis=1), (x**4).mean(axis=1)], axis=-1)
    count = len(powers)
    value = _derived(powers.mean(axis=0))
    without = _derived((powers.sum(axis=0) - powers) / (count - 1))
    error = np.sqrt((count - 1) * np.square(without - without.mean(axis=0)).mean(axis=0))
    return _named(value, error)


def order_of_density(value: ArrayLike, density: ArrayLike) -> dict[str, dict[str, float]]:
    """Moments of stationary densities: mean over members, and their standard deviation.

    Args:
        value: Values of x, evenly spaced, shape [point].
        density: Of each member, shape [member, point].
    """
    x, p = np.asarray(value, np.float64), np.asarray(density, np.float64)
    weight = p / p.sum(axis=-1, keepdims=True)
    return _over_members(np.stack([weight @ np.abs(x), weight @ x**2, weight @ x**4], axis=-1))


def order_of_members(values: ArrayLike) -> dict[str, dict[str, float]]:
    """Moments of values that members predict: mean over members, and their standard deviation.

    Args:
        values: Of each member, shape [member, value].
    """
    x = np.asarray(values, np.float64)
    powers = [np.abs(x).mean(axis=1), (x**2).mean(axis=1), (x**4).mean(axis=1)]
    return _over_members(np.stack(powers, axis=-1))


def is_order_parameter(bounds: Sequence[float]) -> bool:
    """Whether an observable can have either sign alike."""
    low, high = bounds
    return bool(np.isfinite(high) and low == -high)


def _derived(powers: Floats) -> Floats:
    """From <|x|>, <x^2>, <x^4> to the moments, [..., 3]."""
    first, second, fourth = np.moveaxis(powers, -1, 0)
    return np.stack([first, second - first**2, 1.0 - fourth / (3.0 * second**2)], axis=-1)


def _over_members(powers: Floats) -> dict[str, dict[str, float]]:
    members = _derived(powers)
    spread = members.std(axis=0, ddof=1) if len(members) > 1 else np.zeros(len(NAMES))
    return _named(members.mean(axis=0), spread)


def _named(value: Floats, error: Floats) -> dict[str, Any]:
    return {
        name: {"value": float(v), "error": float(e)}
        for name, v, e in zip(NAMES, value, error, strict=True)
    }
