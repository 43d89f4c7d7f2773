"""State spaces: what a network reads of a kind of microscopic state, and what it is to rebuild.

| kind        | states                       | a network reads | reconstruction loss              |
|-------------|------------------------------|-----------------|----------------------------------|
| spin        | -1 or +1                     | the states      | binary cross-entropy, nats       |
| field       | real                         | standardised    | squared error, channel variances |
| species     | 0, 1, 2, ... in each channel | one-hot         | cross-entropy over species, nats |
| coordinates | real, without a lattice      | standardised    | squared error, own variances     |

The first three stand on a grid, [batch, channel, *patch], with any number of channels. Coordinates
are [batch, component] or [batch, particle, component], and keep their places. Particles that may be
exchanged would be a further kind in `SPACES`, with an encoder of their own in `layers`, which does
not change when they are permuted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from macrodyn.systems.space import StateKind

SpaceKind = StateKind | Literal["coordinates"]


class StateSpace(ABC):
    """What an autoencoder knows of a kind of state; states are [batch, *shape].

    Attributes:
        on_grid: Whether the axes behind the channel are those of a lattice.
        standardised: Whether networks read states of mean 0 and variance 1.
    """

    on_grid = True
    standardised = False

    @abstractmethod
    def check(self, states: Tensor, species: int) -> None:
        """Refuse states whose values are not of this kind.

        Raises:
            ValueError: If they are not.
        """

    def width(self, species: int) -> int:
        """Input channels, and logits, for each channel of the state."""
        del species
        return 1

    @abstractmethod
    def inputs(self, states: Tensor, species: int, mean: Tensor, scale: Tensor) -> Tensor:
        """Input of the networks, of the type of `mean`; channels times `width` in the first axis.

        Args:
            states: The states.
            species: Number of species; 0 for other kinds.
            mean: Mean of each channel or coordinate; read where the states are standardised.
            scale: Their standard deviations.
        """

    @abstractmethod
    def loss(self, logits: Tensor, states: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        """Mean loss per site and channel, of logits shaped like `inputs`."""


class _Spins(StateSpace):
    def check(self, states: Tensor, species: int) -> None:
        if not bool((states.abs() == 1).all()):
            raise ValueError("States of kind 'spin' must be -1 or +1")

    def inputs(self, states: Tensor, species: int, mean: Tensor, scale: Tensor) -> Tensor:
        return states.to(mean.dtype)

    def loss(self, logits: Tensor, states: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, (states.to(logits.dtype) + 1) / 2)


class _Reals(StateSpace):
    standardised = True

    def check(self, states: Tensor, species: int) -> None:
        if not bool(torch.isfinite(states).all()):
            raise ValueError("Fields and coordinates must be finite")

    def inputs(self, states: Tensor, species: int, mean: Tensor, scale: Tensor) -> Tensor:
        shape = (*mean.shape, *[1] * (states.ndim - 1 - mean.ndim))
        return (states.to(mean.dtype) - mean.view(shape)) / scale.view(shape)

    def loss(self, logits: Tensor, states: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        return F.mse_loss(logits, self.inputs(states, 0, mean, scale))


class _Coordinates(_Reals):
    on_grid = False


class _Species(StateSpace):
    def check(self, states: Tensor, species: int) -> None:
        if states.is_floating_point() or int(states.min()) < 0:
            raise ValueError("States of kind 'species' must be integers from 0")
        if species < 2:
            raise ValueError(f"Say how many species there are, 2 or more, not {species}")
        others = [axis for axis in range(states.ndim) if axis != 1]
        for channel, highest in enumerate(states.amax(others).tolist()):
            if highest >= species:
                raise ValueError(
                    f"There are {species} species, numbered from 0, but the states hold "
                    f"{highest} in channel {channel}"
                )

    def width(self, species: int) -> int:
        return species

    def inputs(self, states: Tensor, species: int, mean: Tensor, scale: Tensor) -> Tensor:
        return F.one_hot(states.long(), species).movedim(-1, 2).to(mean.dtype).flatten(1, 2)

    def loss(self, logits: Tensor, states: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        each = logits.unflatten(1, (states.shape[1], -1)).flatten(0, 1)
        return F.cross_entropy(each, states.flatten(0, 1).long())


SPACES: dict[SpaceKind, StateSpace] = {
    "spin": _Spins(),
    "field": _Reals(),
    "species": _Species(),
    "coordinates": _Coordinates(),
}


def reconstruction_loss(
    logits: Tensor, states: Tensor, kind: SpaceKind, *, mean: Tensor, scale: Tensor
) -> Tensor:
    """Mean reconstruction loss per site and channel, in the units that the module's table gives.

    For spins and species the loss is a negative log-likelihood: a decoder cannot beat the entropy
    per site and channel of the states given its input.

    Args:
        logits: Decoder output, shape [batch, channel * species, *patch] for species, the species
            of the first channel first; that of the states for other kinds.
        states: The states to reconstruct, shape [batch, channel, *patch], or of coordinates.
        kind: Kind of the state.
        mean: Mean of each field channel or coordinate; read for these kinds only.
        scale: Standard deviation of each field channel or coordinate.

    Returns:
        The loss, a scalar.

    Source: eq. (2) of arXiv:2511.12842.
    """
    return SPACES[kind].loss(logits, states, mean, scale)


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


def check_states(states: Tensor, kind: SpaceKind, species: int = 0) -> None:
    """Refuse states whose values are not those of their kind.

    Args:
        states: States, shape [batch, channel, *patch], or of coordinates.
        kind: Kind of the state.
        species: Number of species; 0 for other kinds.

    Raises:
        ValueError: If a spin is not -1 or +1, a field or coordinate is not finite, or species are
            not integers from 0 to species - 1 in each channel, or are not said to be how many.
    """
    if kind not in SPACES:
        raise ValueError(f"Unknown kind of state {kind!r}; choose one of {', '.join(SPACES)}")
    SPACES[kind].check(states, species)
