"""Chebyshev features of total degree, in an order in which lower degrees come first."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def chebyshev_exponents(inputs: int, degree: int) -> NDArray[np.int64]:
    """Degrees of the factors of each feature, of all total degrees up to `degree`.

    Args:
        inputs: Number of inputs k.
        degree: Highest total degree p.

    Returns:
        Shape [F, k], F = C(k + p, p); the features of a lower degree are the first ones.
    """
    found: list[tuple[int, ...]] = []

    def extend(start: tuple[int, ...], left: int) -> None:
        if len(start) == inputs - 1:
            found.append((*start, left))
            return
        for own in range(left, -1, -1):
            extend((*start, own), left - own)

    for total in range(degree + 1):
        extend((), total)
    return np.array(found, np.int64).reshape(len(found), inputs)


def feature_number(inputs: int, degree: int) -> int:
    """Number of features C(k + p, p) of k inputs up to the total degree p."""
    return math.comb(inputs + degree, degree)


def told_number(variables: int, values: Sequence[int], degree: int) -> int:
    """Number of features of which sampled conditions tell the powers.

    Args:
        variables: Number of inputs of which any power is told.
        values: Number of distinct values of each condition: powers below it are told.
        degree: Highest total degree p of all factors.
    """
    # Entry q: products of powers of the conditions of the total degree q.
    powers = np.zeros(degree + 1, np.int64)
    powers[0] = 1
    for number in values:
        powers = np.convolve(powers, np.ones(min(number, degree + 1), np.int64))[: degree + 1]
    return sum(int(n) * feature_number(variables, degree - q) for q, n in enumerate(powers))


def chebyshev_features(u: Tensor, exponents: NDArray[np.int64]) -> Tensor:
    """Products of Chebyshev polynomials, T_a(u_1) T_b(u_2) ... .

    Args:
        u: Inputs in [-1, 1], shape [..., k].
        exponents: Of `chebyshev_exponents`, shape [F, k].

    Returns:
        Features, shape [..., F].
    """
    values = [torch.ones_like(u), u]
    for _ in range(2, int(exponents.max(initial=0)) + 1):
        values.append(2.0 * u * values[-1] - values[-2])
    table = torch.stack(values, dim=-1)
    result: Tensor | None = None
    for i in range(exponents.shape[1]):
        index = torch.as_tensor(exponents[:, i], device=u.device)
        factor = table[..., i, :].index_select(-1, index)
        result = factor if result is None else result * factor
    assert result is not None
    return result
