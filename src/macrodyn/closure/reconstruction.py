"""Reconstruction losses by kind of microscopic state, and the encoder input each kind needs."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from macrodyn.systems.base import STATE_KINDS, StateKind


def input_channels(kind: StateKind, state_channels: int, species: int) -> int:
    """Number of channels of the encoder's input, which is also that of the decoder's output.

    Args:
        kind: Kind of the state.
        state_channels: Channels of the state itself; 1 for species, whose channel is an index.
        species: Number of species; read for `kind="species"` only.

    Returns:
        The channels of the input and of the logits.
    """
    return species if kind == "species" else state_channels


def encoder_input(
    patches: Tensor, kind: StateKind, *, species: int, mean: Tensor, scale: Tensor
) -> Tensor:
    """Turn states into what a network reads.

    Args:
        patches: States, shape [batch, channel, *patch].
        kind: Spins are passed on as they are, fields are standardised, species are one-hot.
        species: Number of species; read for `kind="species"` only.
        mean: Mean of each field channel, shape [channel]; read for `kind="field"` only.
        scale: Standard deviation of each field channel, shape [channel].

    Returns:
        The input, float32, shape [batch, input channel, *patch].
    """
    if kind == "spin":
        return patches.float()
    if kind == "field":
        return _standardise(patches, mean, scale)
    return F.one_hot(patches[:, 0].long(), species).movedim(-1, 1).float()


def reconstruction_loss(
    logits: Tensor, patches: Tensor, kind: StateKind, *, mean: Tensor, scale: Tensor
) -> Tensor:
    """Mean reconstruction loss per site (and, for spins and fields, per channel).

    | kind    | states         | loss                                             |
    |---------|----------------|--------------------------------------------------|
    | spin    | -1 or +1       | binary cross-entropy, nats                       |
    | field   | real           | squared error in units of the channel's variance |
    | species | 0, 1, 2, ...   | cross-entropy over the species, nats             |

    For spins and species the loss is a negative log-likelihood: a decoder cannot beat the entropy
    per site of the states given its input.

    Args:
        logits: Decoder output, shape [batch, input channel, *patch].
        patches: The states to reconstruct, shape [batch, channel, *patch].
        kind: Kind of the state.
        mean: Mean of each field channel, shape [channel]; read for `kind="field"` only.
        scale: Standard deviation of each field channel, shape [channel].

    Returns:
        The loss, a scalar.

    Source: eq. (2) of arXiv:2511.12842.
    """
    if kind == "spin":
        return F.binary_cross_entropy_with_logits(logits, (patches.float() + 1) / 2)
    if kind == "field":
        return F.mse_loss(logits, _standardise(patches, mean, scale))
    return F.cross_entropy(logits, patches[:, 0].long())


def as_states(patches: np.ndarray | Tensor) -> Tensor:
    """Take states as a tensor, copied only where torch cannot share the array's memory.

    Args:
        patches: States, of any shape and type; arrays may be read-only or have any strides.

    Returns:
        The states, of the same type.
    """
    if isinstance(patches, Tensor):
        return patches
    return torch.from_numpy(np.require(patches, requirements=["C", "W"]))


def check_states(patches: Tensor, kind: StateKind, species: int = 0) -> None:
    """Refuse states whose values are not those of their kind.

    Args:
        patches: States, shape [batch, channel, *patch].
        kind: Kind of the state.
        species: Number of species; 0 for other kinds.

    Raises:
        ValueError: If a spin is not -1 or +1, a field is not finite, or species have more than
            one channel, are not integers from 0 to species - 1, or are not said to be how many.
    """
    if kind not in STATE_KINDS:
        raise ValueError(f"Unknown kind of state {kind!r}; choose one of {', '.join(STATE_KINDS)}")
    if kind == "spin" and not bool((patches.abs() == 1).all()):
        raise ValueError("States of kind 'spin' must be -1 or +1")
    if kind == "field" and not bool(torch.isfinite(patches).all()):
        raise ValueError("States of kind 'field' must be finite")
    if kind == "species":
        if patches.shape[1] != 1:
            raise ValueError(f"Species are one index channel, got {patches.shape[1]} channels")
        if patches.is_floating_point() or int(patches.min()) < 0:
            raise ValueError("States of kind 'species' must be integers from 0")
        if species < 2:
            raise ValueError(f"Say how many species there are, 2 or more, not {species}")
        if int(patches.max()) >= species:
            raise ValueError(
                f"There are {species} species, numbered from 0, but the states hold "
                f"{int(patches.max())}"
            )


def _standardise(patches: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    shape = (-1, *[1] * (patches.ndim - 2))
    return (patches.float() - mean.view(shape)) / scale.view(shape)
