"""Autoencoder: closure variables from a microscopic state, a state from its macroscopic one."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from macrodyn.closure.layers import Architecture, build_decoder, build_encoder
from macrodyn.closure.reconstruction import SPACES, as_states

_NUMBERS_PER_CHUNK = 2**19


class Autoencoder(nn.Module):
    """Closure variables of states, and states from their macroscopic state.

    Of coordinates, which have no lattice, it is used as it is; of grids as a `PatchAutoencoder`.

    | symbol | here                                                     |
    |--------|----------------------------------------------------------|
    | z*     | `observables`, given by the caller, [batch, observable]  |
    | zhat   | `encode(states)`, [batch, closure]                       |
    | z      | (z*, zhat), what `decode` reads                          |

    `encode` of fields and coordinates and `decode` are differentiable (`torch.func`), in double
    precision after `model.double()`.
    Closure variables are scaled by `fit_normalisation`: an affine map, so that it commutes with
    means over patches.

    Args:
        architecture: The shapes.
        seed: Seed of the initial weights; the global random state is left as it was.

    Source: eq. (2) of arXiv:2511.12842; without z*, the autoencoder of arXiv:2410.23938.
    """

    closure_shift: Tensor
    closure_scale: Tensor
    observable_shift: Tensor
    observable_scale: Tensor
    field_mean: Tensor
    field_scale: Tensor

    def __init__(self, architecture: Architecture, *, seed: int = 0) -> None:
        """Build the networks with random weights, and scalers that change nothing."""
        super().__init__()
        self.architecture = architecture
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = build_encoder(architecture)
            self.decoder = self._build_decoder(architecture)
        for name, size in (
            ("closure", architecture.closure_dim),
            ("observable", architecture.observables),
        ):
            self.register_buffer(f"{name}_shift", torch.zeros(size))
            self.register_buffer(f"{name}_scale", torch.ones(size))
        self.space = SPACES[architecture.kind]
        shape = (architecture.state_channels, *architecture.patch)
        scaled = shape[:1] if self.space.on_grid else shape
        self.register_buffer("field_mean", torch.zeros(scaled))
        self.register_buffer("field_scale", torch.ones(scaled))

    @staticmethod
    def _build_decoder(architecture: Architecture) -> nn.Module:
        return build_decoder(architecture)

    def encode(self, states: Tensor) -> Tensor:
        """Closure variables of states, normalised.

        Args:
            states: States, shape [batch, channel, *patch], or [batch, component] or
                [batch, particle, component] of coordinates.

        Returns:
            zhat, of the type of the weights, shape [batch, closure].
        """
        if self.architecture.closure_dim == 0:
            return torch.zeros(len(states), 0, device=states.device)
        return (self.encoder(self.encoder_inputs(states)) - self.closure_shift) / self.closure_scale

    def encoder_inputs(self, states: Tensor) -> Tensor:
        """What the encoder reads of states, as `encode` takes them."""
        return self.space.inputs(
            states, self.architecture.species, self.field_mean, self.field_scale
        )

    @property
    def first_layer(self) -> nn.Linear:
        """First layer of the dense encoder, whose weights are [width, input].

        It reads standardised coordinates: the derivative by a coordinate is a column of its weights
        divided by the coordinate's `field_scale`.

        Raises:
            TypeError: If the encoder is not dense, or there are no closure variables.
        """
        if self.architecture.encoder != "dense" or self.architecture.closure_dim == 0:
            raise TypeError("Only a dense encoder has a first layer that reads the whole state")
        layer = self.encoder[1]
        assert isinstance(layer, nn.Linear)
        return layer

    def decode(self, observables: Tensor, closure: Tensor) -> Tensor:
        """Logits (standardised values of fields and coordinates), given the macroscopic state.

        Args:
            observables: z*, shape [batch, observable].
            closure: zhat as `encode` gives it, shape [batch, closure].

        Returns:
            Logits, shape [batch, input channel, *patch]; for species an input channel is one
            species of one channel. Of coordinates the shape of the states.
        """
        return self.decoder(self._read(observables, closure))

    def _read(self, observables: Tensor, closure: Tensor) -> Tensor:
        """What the decoder reads of a macroscopic state."""
        given = observables.to(self.observable_shift.dtype)
        standardised = (given - self.observable_shift) / self.observable_scale
        raw = closure * self.closure_scale + self.closure_shift
        return torch.cat([standardised, raw], dim=1)

    def forward(self, states: Tensor, observables: Tensor) -> Tensor:
        """Reconstruct states from their observables and closure variables.

        Args:
            states: As `encode` reads them.
            observables: z*, shape [batch, observable].

        Returns:
            Logits, as `decode` gives them.
        """
        return self.decode(observables, self.encode(states))

    def loss(self, patches: Tensor, observables: Tensor) -> Tensor:
        """Mean reconstruction loss per site and channel, see `reconstruction_loss`.

        Args:
            patches: States, as `encode` reads them.
            observables: z*, shape [batch, observable].

        Returns:
            The loss, a scalar.
        """
        logits = self(patches, observables)
        return self.space.loss(logits, patches, self.field_mean, self.field_scale)

    @torch.no_grad()
    def encode_all(self, states: np.ndarray | Tensor) -> np.ndarray:
        """Closure variables of any number of states, in chunks of bounded memory.

        Args:
            states: States, shape [N, channel, *patch] or as `encode` reads them, on any device.

        Returns:
            zhat, float64, shape [N, closure].

        Raises:
            ValueError: If the states have another shape than the model's.
        """
        states = as_states(states)
        expected = (self.architecture.state_channels, *self.architecture.patch)
        if tuple(states.shape[1:]) != expected:
            raise ValueError(
                f"The closure model reads states of shape {expected}, got {tuple(states.shape[1:])}"
            )
        device = self.closure_shift.device
        closure = np.empty((len(states), self.architecture.closure_dim))
        chunk = self.chunk
        for start in range(0, len(states), chunk):
            part = slice(start, start + chunk)
            closure[part] = self.encode(states[part].to(device)).double().cpu().numpy()
        return closure

    @property
    def chunk(self) -> int:
        """Number of states that are encoded at once where memory should stay bounded."""
        return max(1, _NUMBERS_PER_CHUNK // prod(self.architecture.input_shape))

    def fit_scalers(self, patches: Tensor, observables: Tensor) -> None:
        """Standardise what the networks read: the observables, and fields or coordinates.

        Args:
            patches: States of the training set, shape [N, channel, *patch], or of coordinates.
            observables: z* of the training set, shape [N, observable].
        """
        pairs = [(observables, [0], self.observable_shift, self.observable_scale)]
        if self.space.standardised:
            sites = [0, *range(1 + self.field_mean.ndim, patches.ndim)]
            pairs.append((patches, sites, self.field_mean, self.field_scale))
        for values, axes, shift, scale in pairs:
            exact = values.double()
            mean = exact.mean(dim=axes, keepdim=True)
            deviation = (exact - mean).square().mean(dim=axes).sqrt()
            shift.copy_(mean.view_as(shift))
            # A spread within float32's resolution is that of a constant: leave its scale alone.
            scale.copy_(torch.where(deviation > 1e-6 * shift.abs(), deviation, 1.0))

    def fit_normalisation(self, closure: np.ndarray) -> None:
        """Rescale the closure variables so that those given have mean 0 and variance 1.

        The decoder undoes the scaling, so reconstructions do not change.

        Args:
            closure: zhat of whole states under the present scaling, shape [S, closure].

        Raises:
            ValueError: If a closure variable is the same for all snapshots.
        """
        mean, deviation = closure.mean(axis=0), closure.std(axis=0)
        # float32 outputs resolve about 1e-7 of their own size: less spread is rounding.
        constant = np.flatnonzero(deviation <= 1e-6 * (1e-6 + np.abs(mean)))
        if constant.size:
            raise ValueError(
                f"Closure variables {constant.tolist()} do not vary over the snapshots: raise "
                "closure.steps, take another seed, or lower closure.dimension"
            )
        like = self.closure_scale
        shift, scale = (torch.as_tensor(x, device=like.device) for x in (mean, deviation))
        previous = like.double()
        self.closure_shift.copy_(self.closure_shift.double() + shift * previous)
        self.closure_scale.copy_(scale * previous)
