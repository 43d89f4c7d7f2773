"""Autoencoder of patches: closure variables from a patch, a patch from observables and closure."""

from __future__ import annotations

from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from macrodyn.closure.layers import (
    Architecture,
    build_decoder,
    build_encoder,
    pooled_kernels,
)
from macrodyn.closure.reconstruction import as_states, encoder_input, reconstruction_loss
from macrodyn.paths import StrPath
from macrodyn.storage.errors import refusal
from macrodyn.storage.models import ModelFileError, check_kind, load_model, save_model

_SITES_PER_CHUNK = 2**19
# Features of all sites take so much memory that more of them at once leave the cache.
_SITES_PER_SUM = 2**16


class PatchAutoencoder(nn.Module):
    """Closure variables of patches, and patches from their macroscopic state.

    | symbol   | here                                                    |
    |----------|---------------------------------------------------------|
    | z*_I     | `observables`, given by the caller, [batch, observable] |
    | zhat_I   | `encode(patches)`, [batch, closure]                     |
    | zhat     | `encode_snapshot(patches)`: mean of zhat_I over I; for  |
    |          | whole states see `closure.snapshots`                    |
    | z_I      | (z*_I, zhat_I), what `decode` reads                     |

    Closure variables are scaled by `fit_normalisation`: an affine map, so that it commutes with
    the mean over patches.

    Args:
        architecture: The shapes.
        seed: Seed of the initial weights; the global random state is left as it was.

    Source: eqs. (1) and (2) of arXiv:2511.12842.
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
            self.decoder = build_decoder(architecture)
        for name, size in (
            ("closure", architecture.closure_dim),
            ("observable", architecture.observables),
        ):
            self.register_buffer(f"{name}_shift", torch.zeros(size))
            self.register_buffer(f"{name}_scale", torch.ones(size))
        self.register_buffer("field_mean", torch.zeros(architecture.state_channels))
        self.register_buffer("field_scale", torch.ones(architecture.state_channels))

    def encode(self, patches: Tensor) -> Tensor:
        """Closure variables of patches, normalised.

        Args:
            patches: States, shape [batch, channel, *patch].

        Returns:
            zhat_I, float32, shape [batch, closure].
        """
        if self.architecture.closure_dim == 0:
            return torch.zeros(len(patches), 0, device=patches.device)
        return (self.encoder(self._inputs(patches)) - self.closure_shift) / self.closure_scale

    def _inputs(self, states: Tensor) -> Tensor:
        return encoder_input(
            states,
            self.architecture.kind,
            species=self.architecture.species,
            mean=self.field_mean,
            scale=self.field_scale,
        )

    def decode(self, observables: Tensor, closure: Tensor) -> Tensor:
        """Logits (for fields: standardised values) of patches, given their macroscopic state.

        Args:
            observables: z*_I, shape [batch, observable].
            closure: zhat_I as `encode` gives it, shape [batch, closure].

        Returns:
            Logits, shape [batch, input channel, *patch].
        """
        standardised = (observables.float() - self.observable_shift) / self.observable_scale
        raw = closure * self.closure_scale + self.closure_shift
        return self.decoder(torch.cat([standardised, raw], dim=1))

    def forward(self, patches: Tensor, observables: Tensor) -> Tensor:
        """Reconstruct patches from their observables and closure variables.

        Args:
            patches: States, shape [batch, channel, *patch].
            observables: z*_I, shape [batch, observable].

        Returns:
            Logits, shape [batch, input channel, *patch].
        """
        return self.decode(observables, self.encode(patches))

    def loss(self, patches: Tensor, observables: Tensor) -> Tensor:
        """Mean reconstruction loss per site, see `reconstruction_loss`.

        Args:
            patches: States, shape [batch, channel, *patch].
            observables: z*_I, shape [batch, observable].

        Returns:
            The loss, a scalar.
        """
        return reconstruction_loss(
            self(patches, observables),
            patches,
            self.architecture.kind,
            mean=self.field_mean,
            scale=self.field_scale,
        )

    @torch.no_grad()
    def encode_patches(self, patches: np.ndarray | Tensor) -> np.ndarray:
        """Closure variables of any number of patches, in chunks of bounded memory.

        Args:
            patches: States, shape [N, channel, *patch], on any device.

        Returns:
            zhat_I, float64, shape [N, closure].

        Raises:
            ValueError: If the patches have another shape than the model's.
        """
        states = as_states(patches)
        expected = (self.architecture.state_channels, *self.architecture.patch)
        if tuple(states.shape[1:]) != expected:
            raise ValueError(
                f"The closure model reads patches of shape {expected} (channel, *patch), "
                f"got {tuple(states.shape[1:])}"
            )
        device = self.closure_shift.device
        closure = np.empty((len(states), self.architecture.closure_dim))
        chunk = self.chunk
        for start in range(0, len(states), chunk):
            part = slice(start, start + chunk)
            closure[part] = self.encode(states[part].to(device)).double().cpu().numpy()
        return closure

    def encode_snapshot(self, patches: np.ndarray | Tensor) -> np.ndarray:
        """Closure variables of whole snapshots: the mean over the patches that tile them.

        Args:
            patches: The K patches of each of S snapshots, shape [S, K, channel, *patch].

        Returns:
            zhat, float64, shape [S, closure].

        Source: eq. (1) of arXiv:2511.12842.
        """
        states = as_states(patches)
        closure = self.encode_patches(states.flatten(0, 1))
        return closure.reshape(*states.shape[:2], self.architecture.closure_dim).mean(axis=1)

    @property
    def reach(self) -> tuple[int, ...] | None:
        """Sites along each axis, beside one, that a local term of the pooled encoder reads.

        None for other encoders, which have no local terms.
        """
        if self.architecture.encoder != "pooled" or self.architecture.closure_dim == 0:
            return None
        kernels = zip(*pooled_kernels(self.architecture), strict=True)
        return tuple(sum(width - 1 for width in axis) for axis in kernels)

    @torch.no_grad()
    def local_sums(
        self, blocks: np.ndarray | Tensor, inside: np.ndarray | None = None
    ) -> np.ndarray:
        """Sums of the local terms whose mean over sites are the closure variables.

        There is a term for each place whose surroundings are in the block, of the pooled encoder.

        Args:
            blocks: States, shape [N, channel, *sides], of any sides.
            inside: Which places count, shape [N, *(sides - reach)]; all if left out.

        Returns:
            Sums, normalised like `encode`; float64, shape [N, closure].
        """
        states = as_states(blocks)
        device = self.closure_shift.device
        convolutions, linear = self.encoder[:-2], cast(nn.Linear, self.encoder[-1])
        chunk = max(1, _SITES_PER_SUM // prod(states.shape[2:]))
        sums, counts = [], []
        for begin in range(0, len(states), chunk):
            features = convolutions(self._inputs(states[begin : begin + chunk].to(device)))
            if inside is None:
                counts.append(torch.full((len(features), 1), prod(features.shape[2:])))
            else:
                mask = torch.as_tensor(inside[begin : begin + chunk], device=device)
                features = features * mask[:, None]
                counts.append(mask.flatten(1).sum(1, keepdim=True))
            sums.append(features.flatten(2).sum(dim=2, dtype=torch.float64))
        # Terms are linear in the features: summed first, they are few.
        total = torch.cat(sums) @ linear.weight.double().T
        total += torch.cat(counts).to(device) * (linear.bias - self.closure_shift).double()
        return (total / self.closure_scale.double()).cpu().numpy()

    @property
    def chunk(self) -> int:
        """Number of patches that are encoded at once where memory should stay bounded."""
        return max(1, _SITES_PER_CHUNK // prod(self.architecture.patch))

    def fit_scalers(self, patches: Tensor, observables: Tensor) -> None:
        """Standardise what the networks read: the observables and, for fields, the states.

        Args:
            patches: States of the training set, shape [N, channel, *patch].
            observables: z*_I of the training set, shape [N, observable].
        """
        pairs = [(observables, [0], self.observable_shift, self.observable_scale)]
        if self.architecture.kind == "field":
            sites = [0, *range(2, patches.ndim)]
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
            closure: zhat of whole snapshots under the present scaling, shape [S, closure].

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


def save_autoencoder(path: StrPath, model: PatchAutoencoder, provenance: dict[str, Any]) -> None:
    """Write an autoencoder with its architecture and scalers.

    Args:
        path: The file, ending in `.safetensors`; a `.json` is written beside it.
        model: The model.
        provenance: What made it, as plain JSON values.
    """
    metadata = {
        "model": "patch-autoencoder",
        "architecture": asdict(model.architecture),
        "scalers": {name: buffer.tolist() for name, buffer in model.named_buffers()},
        "provenance": provenance,
    }
    save_model(path, dict(model.state_dict()), metadata)


def load_autoencoder(path: StrPath) -> tuple[PatchAutoencoder, dict[str, Any]]:
    """Read what `save_autoencoder` wrote.

    Args:
        path: The file, ending in `.safetensors`.

    Returns:
        The model, on the CPU and ready for evaluation, and the stored provenance.

    Raises:
        ModelKindError: If the file holds another kind of model.
        ModelFileError: If the files are missing or damaged, or of another version.
    """
    path = Path(path)
    tensors, metadata = load_model(path)
    check_kind(path, metadata, "patch-autoencoder")
    try:
        stored = dict(metadata["architecture"])
        stored |= {name: tuple(stored[name]) for name in ("patch", "channels")}
        model = PatchAutoencoder(Architecture(**stored))
        model.load_state_dict(tensors)
        provenance = metadata["provenance"]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        problem = f"is not a patch autoencoder of this version ({error})"
        raise ModelFileError(str(refusal(path, problem, path.with_suffix(".json")))) from error
    return model.eval(), provenance
