"""Transitions of systems of several sizes, joined: each is as noisy as its own size makes it.

Drift and n Sigma are those of every number of sites n, but for corrections of order 1/n. With Sigma
that of n sites, the mean increment of m_i of the K_i patches of a system of n_i sites has the
covariance

    (K_i / m_i) (n / n_i) Sigma elapsed,

and the scatter of its patches the factor K_i n / n_i in place of K_i.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from macrodyn.dynamics.data import TransitionData


def join(parts: Sequence[TransitionData]) -> TransitionData:
    """Join transitions whose factors may differ.

    Where some of the parts have a scatter or compensated increments and others do not, the others
    get what says the same: a scatter of zero of one patch, and their increments.

    Args:
        parts: Transitions of the same variables and conditions; of each the factors are relative to
            one and the same Sigma. Equal groups of different parts are one group.

    Returns:
        All of them, in the order of the parts; what differs between the parts has one value for
        each transition. A single part as it is.

    Raises:
        ValueError: If there is no part, or the numbers of variables or conditions differ, or the
            covariance is known of some only.
    """
    if len({(part.variables, part.conditions.shape[1]) for part in parts}) != 1:
        raise ValueError("Only transitions of the same variables and conditions can be joined")
    if len(parts) == 1:
        return parts[0]
    if len({part.known for part in parts}) != 1:
        raise ValueError("Of some parts the covariance is known, of others it is not")
    scatter = compensated = None
    if any(part.scatter is not None for part in parts):
        scatter = torch.cat([_scatter(part) for part in parts])
    if any(part.compensated is not None for part in parts):
        compensated = torch.cat([part.drift_increment for part in parts])
    return TransitionData(
        z=torch.cat([part.z for part in parts]),
        increment=torch.cat([part.increment for part in parts]),
        elapsed=torch.cat([part.elapsed for part in parts]),
        conditions=torch.cat([part.conditions for part in parts]),
        group=torch.cat([part.group for part in parts]),
        scatter=scatter,
        compensated=compensated,
        known=parts[0].known,
        factor=_joined(parts, [part.factor for part in parts]),
        patches=_joined(parts, [part.patches for part in parts]),
        within=_joined(parts, [part.within for part in parts]),
    )


def _scatter(part: TransitionData) -> Tensor:
    """The scatter; of what has none, zero."""
    d = part.variables
    return part.z.new_zeros(len(part), d, d) if part.scatter is None else part.scatter


def _joined(parts: Sequence[TransitionData], values: Sequence[Any]) -> Any:
    """One number where all parts have the same one, else one for each transition."""
    if not any(isinstance(value, Tensor) for value in values) and len(set(values)) == 1:
        return values[0]
    return torch.cat(
        [
            torch.as_tensor(value, dtype=part.z.dtype).expand(len(part))
            for part, value in zip(parts, values, strict=True)
        ]
    )
