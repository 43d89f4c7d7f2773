"""Autoencoder of patches of a lattice, their means over whole snapshots, and models on disk."""

from __future__ import annotations

from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any, TypeVar, cast, overload

import numpy as np
import torch
from torch import Tensor, nn

from macrodyn.closure.autoencoder import Autoencoder
from macrodyn.closure.layers import Architecture, build_decoder, pooled_kernels
from macrodyn.closure.mixture import PatchMixture, mixture_loss
from macrodyn.closure.reconstruction import as_states
from macrodyn.paths import StrPath
from macrodyn.storage.errors import refusal
from macrodyn.storage.models import ModelFileError, check_kind, load_model, save_model

_SITES_PER_CHUNK = 2**19
# Features of all sites take so much memory that more of them at once leave the cache.
_SITES_PER_SUM = 2**16


class PatchAutoencoder(Autoencoder):
    """Closure variables of patches, and patches from their macroscopic state.

    | symbol   | here                                                    |
    |----------|---------------------------------------------------------|
    | z*_I     | `observables`, given by the caller, [batch, observable] |
    | zhat_I   | `encode(patches)`, [batch, closure]                     |
    | zhat     | `encode_snapshot(patches)`: mean of zhat_I over I; for  |
    |          | whole states see `closure.snapshots`                    |
    | z_I      | (z*_I, zhat_I), what `decode` reads                     |

    Where the architecture's decoder is `whole`, z = (z*, zhat) of the snapshot is decoded to the
    distribution of its patches instead (`snapshot_loss`); where it is `none`, to nothing.

    Source: eqs. (1) and (2) of arXiv:2511.12842.
    """

    @staticmethod
    def _build_decoder(architecture: Architecture) -> nn.Module:
        if architecture.decoder == "whole":
            return PatchMixture(architecture)
        return build_decoder(architecture)

    def snapshot_loss(self, patches: Tensor, observables: Tensor) -> Tensor:
        """Mean loss of patches per site and channel, given z of their snapshots.

        Args:
            patches: m patches of each of S snapshots, shape [S, m, channel, *patch]; zhat is the
                mean over these.
            observables: z* of the snapshots, shape [S, observable].

        Returns:
            The loss, a scalar, see `mixture_loss`.

        Source: eq. (2) of arXiv:2511.12842, with z of the whole snapshot.
        """
        log_weights, logits = self.decoder(self._read(observables, self.encode_means(patches)))
        inputs = self.encoder_inputs(patches.flatten(0, 1)).unflatten(0, patches.shape[:2])
        kind, species = self.architecture.kind, self.architecture.species
        return mixture_loss(log_weights, logits, inputs, kind, species)

    def encode_means(self, patches: Tensor) -> Tensor:
        """Closure variables of snapshots, differentiable: means over some of their patches.

        Args:
            patches: m patches of each of S snapshots, shape [S, m, channel, *patch].

        Returns:
            zhat, of the type of the weights, shape [S, closure].
        """
        return self.encode(patches.flatten(0, 1)).unflatten(0, patches.shape[:2]).mean(dim=1)

    def encode_patches(self, patches: np.ndarray | Tensor) -> np.ndarray:
        """Closure variables zhat_I of any number of patches, as `encode_all` gives them."""
        return self.encode_all(patches)

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
            features = convolutions(self.encoder_inputs(states[begin : begin + chunk].to(device)))
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


# Classes of models by the word in their descriptions.
_NAMES: dict[type[Autoencoder], str] = {
    PatchAutoencoder: "patch-autoencoder",
    Autoencoder: "autoencoder",
}
_Model = TypeVar("_Model", bound=Autoencoder)


def save_autoencoder(path: StrPath, model: Autoencoder, provenance: dict[str, Any]) -> None:
    """Write an autoencoder with its architecture and scalers.

    Args:
        path: The file, ending in `.safetensors`; a `.json` is written beside it.
        model: The model.
        provenance: What made it, as plain JSON values.
    """
    metadata = {
        "model": _NAMES[type(model)],
        "architecture": asdict(model.architecture),
        "scalers": {name: buffer.tolist() for name, buffer in model.named_buffers()},
        "provenance": provenance,
    }
    save_model(path, dict(model.state_dict()), metadata)


@overload
def load_autoencoder(path: StrPath) -> tuple[PatchAutoencoder, dict[str, Any]]: ...


@overload
def load_autoencoder(path: StrPath, cls: type[_Model]) -> tuple[_Model, dict[str, Any]]: ...


def load_autoencoder(
    path: StrPath, cls: type[Autoencoder] = PatchAutoencoder
) -> tuple[Autoencoder, dict[str, Any]]:
    """Read what `save_autoencoder` wrote.

    Args:
        path: The file, ending in `.safetensors`.
        cls: What it shall hold: a `PatchAutoencoder`, or an `Autoencoder` of coordinates.

    Returns:
        The model, on the CPU and ready for evaluation, and the stored provenance.

    Raises:
        ModelKindError: If the file holds another kind of model.
        ModelFileError: If the files are missing or damaged, or of another version.
    """
    path = Path(path)
    tensors, metadata = load_model(path)
    check_kind(path, metadata, _NAMES[cls])
    try:
        stored = dict(metadata["architecture"])
        stored |= {name: tuple(stored[name]) for name in ("patch", "channels")}
        model = cls(Architecture(**stored))
        model.load_state_dict(tensors)
        provenance = metadata["provenance"]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        problem = f"is not a model of this version ({error})"
        raise ModelFileError(str(refusal(path, problem, path.with_suffix(".json")))) from error
    return model.eval(), provenance
