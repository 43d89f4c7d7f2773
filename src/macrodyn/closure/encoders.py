"""Closure variables of coordinates: linear modes or a network, with their Jacobians.

Both read the coordinates y of a system that do not feel its observables
(`ForceSystem.complement`), so that the rows of the Jacobian phi' that belong to closure variables
are orthogonal to those of the observables, where the system knows such coordinates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from macrodyn.closure.autoencoder import Autoencoder
from macrodyn.closure.conditioning import dense_jacobian
from macrodyn.closure.model import load_autoencoder, save_autoencoder
from macrodyn.paths import StrPath
from macrodyn.storage.models import check_kind, load_model, save_model
from macrodyn.systems.force_system import ForceSystem

Array = NDArray[np.float64]
MODES, DESCRIPTORS = "modes", "descriptors"


class Encoder(ABC):
    """Closure variables zhat of states [batch, particle, component].

    Attributes:
        dimension: Number of closure variables.
    """

    dimension: int

    @abstractmethod
    def encode(self, complement: Array) -> Array:
        """Closure variables of y, [batch, particle, component] to [batch, closure]."""

    @abstractmethod
    def rows(self, complement: Array) -> Array:
        """Derivatives of the closure variables by y.

        Args:
            complement: y, shape [batch, particle, component].

        Returns:
            Shape [closure, particle, component] where they are the same everywhere, else
            [batch, closure, particle, component].
        """

    @abstractmethod
    def save(self, path: StrPath, provenance: dict[str, Any]) -> None:
        """Write it to a file ending in `.safetensors`, and a description beside it."""


class Modes(Encoder):
    """Orthonormal linear modes: zhat = modes (y - mean).

    Args:
        modes: Orthonormal, shape [closure, particle, component].
        mean: Mean of y, shape [particle, component].

    Raises:
        ValueError: If shapes do not fit.
    """

    def __init__(self, modes: Array, mean: Array) -> None:
        if modes.ndim != 3 or modes.shape[1:] != mean.shape:
            raise ValueError(f"Modes of shape {modes.shape} do not fit a mean of {mean.shape}")
        self.modes, self.mean = np.ascontiguousarray(modes), np.ascontiguousarray(mean)
        self.dimension = len(modes)

    def encode(self, complement: Array) -> Array:
        """Project y; see `Encoder.encode`."""
        flat = (complement - self.mean).reshape(len(complement), -1)
        # Not a product of matrices, whose last bits depend on how many states there are.
        return np.einsum("nj,kj->nk", flat, self.modes.reshape(self.dimension, -1))

    def rows(self, complement: Array) -> Array:
        """The modes themselves, of any state."""
        return self.modes

    def save(self, path: StrPath, provenance: dict[str, Any]) -> None:
        """Write modes and mean in double precision."""
        tensors = {"modes": torch.from_numpy(self.modes), "mean": torch.from_numpy(self.mean)}
        save_model(path, tensors, {"kind": MODES, "provenance": provenance})


class Network(Encoder):
    """The dense encoder of an `Autoencoder` of coordinates, in double precision.

    Args:
        model: The autoencoder; y is what it reads.
    """

    def __init__(self, model: Autoencoder) -> None:
        self.model = deepcopy(model).double().eval().requires_grad_(False)
        self.dimension = model.architecture.closure_dim

    def encode(self, complement: Array) -> Array:
        """Evaluate the network; see `Encoder.encode`."""
        # One by one: the last bits of a batch depend on its size.
        return np.concatenate([self.model.encode_all(state[None]) for state in complement])

    def rows(self, complement: Array) -> Array:
        """Jacobians of the network in closed form; see `Encoder.rows`."""
        states = torch.from_numpy(np.ascontiguousarray(complement))
        found = torch.cat([dense_jacobian(self.model, state[None]) for state in states])
        return found.numpy().reshape(len(complement), self.dimension, *complement.shape[1:])

    def save(self, path: StrPath, provenance: dict[str, Any]) -> None:
        """Write the autoencoder."""
        save_autoencoder(path, self.model, provenance)


class Descriptors(Encoder):
    """Linear combinations of a system's descriptors: zhat = directions (D(y) - mean).

    Args:
        system: The system, which computes D.
        directions: Shape [closure, descriptor].
        mean: Mean of D, shape [descriptor].

    Raises:
        ValueError: If the system has other descriptors.
    """

    def __init__(self, system: ForceSystem, directions: Array, mean: Array) -> None:
        names = system.descriptor_names
        if directions.ndim != 2 or directions.shape[1:] != mean.shape or len(mean) != len(names):
            raise ValueError(
                f"Directions of shape {directions.shape} and a mean of {mean.shape} do not fit "
                f"{len(names)} descriptors"
            )
        self.system = system
        self.directions, self.mean = np.ascontiguousarray(directions), np.ascontiguousarray(mean)
        self.dimension = len(directions)

    def encode(self, complement: Array) -> Array:
        """Combine the descriptors; see `Encoder.encode`."""
        centred = self.system.descriptors(complement) - self.mean
        return np.einsum("nj,kj->nk", centred, self.directions)

    def rows(self, complement: Array) -> Array:
        """Combine the descriptors' derivatives; see `Encoder.rows`."""
        return np.einsum("njpc,kj->nkpc", self.system.descriptor_rows(complement), self.directions)

    def save(self, path: StrPath, provenance: dict[str, Any]) -> None:
        """Write directions, mean and the descriptors' names."""
        tensors = {
            "directions": torch.from_numpy(self.directions),
            "mean": torch.from_numpy(self.mean),
        }
        description = {"kind": DESCRIPTORS, "descriptors": list(self.system.descriptor_names)}
        save_model(path, tensors, {**description, "provenance": provenance})


def load_encoder(path: StrPath, system: ForceSystem | None = None) -> Encoder:
    """Read what `Encoder.save` wrote.

    Args:
        path: The file.
        system: The system; an encoder of its descriptors needs it.

    Raises:
        ModelKindError: If the file holds another kind of model.
        ModelFileError: If the files are missing or damaged.
        ValueError: If it is of the descriptors of another system, or none is given.
    """
    tensors, description = load_model(path)
    if description.get("model") == "autoencoder":
        return Network(load_autoencoder(path, Autoencoder)[0])
    if description.get("kind") == DESCRIPTORS:
        names = () if system is None else system.descriptor_names
        if system is None or description["descriptors"] != list(names):
            raise ValueError(
                f"{path} combines the descriptors {description['descriptors']}, and the system "
                f"has {list(names)}: give the system that it was made for"
            )
        return Descriptors(system, tensors["directions"].numpy(), tensors["mean"].numpy())
    check_kind(path, description, MODES)
    return Modes(tensors["modes"].numpy(), tensors["mean"].numpy())


def macrostates(system: ForceSystem, encoder: Encoder, states: Array) -> Array:
    """Z = (z*, zhat) of states, [batch, particle, component] to [batch, variable]."""
    zhat = encoder.encode(system.complement(states))
    return np.concatenate([system.observe(states), zhat], axis=1)


def variable_names(system: ForceSystem, encoder: Encoder) -> list[str]:
    """Names of the macroscopic variables: observables, then closure variables."""
    closure = [f"closure_{k + 1}" for k in range(encoder.dimension)]
    return [*system.observable_names, *closure]


def jacobian(system: ForceSystem, encoder: Encoder, states: Array) -> Array:
    """Phi' of states: the derivatives of z = (z*, zhat) by the coordinates.

    Args:
        system: The system.
        encoder: Its closure variables.
        states: Shape [batch, particle, component].

    Returns:
        Shape [batch, variable, N].
    """
    rows = encoder.rows(system.complement(states))
    parts = [system.gradient(states), system.pull_back(states, rows)]
    found: Array = np.concatenate([p.reshape(*p.shape[:2], -1) for p in parts], axis=1)
    return found


def principal_modes(complement: Array, number: int) -> Modes:
    """The principal components of y, by the largest variances.

    Of N coordinates and fewer snapshots n the Gram matrix of the snapshots is diagonalised, else
    the covariance: the smaller of the two.

    Args:
        complement: y of n snapshots, shape [n, particle, component].
        number: Number of modes.

    Raises:
        ValueError: If the snapshots span fewer directions than that.
    """
    mean = complement.mean(axis=0)
    flat = (complement - mean).reshape(len(complement), -1)
    if len(flat) < flat.shape[1]:
        values, vectors = np.linalg.eigh(flat @ flat.T)
    else:
        values, vectors = np.linalg.eigh(flat.T @ flat)
    rank = int((values > values[-1] * 1e-12).sum()) if values[-1] > 0 else 0
    if number > rank:
        raise ValueError(
            f"closure.dimension is {number}, but the snapshots span {rank} directions beside the "
            "observables: lower it, or simulate more runs"
        )
    chosen = vectors[:, ::-1][:, :number].T
    if len(flat) < flat.shape[1]:
        chosen = chosen @ flat
        # Once more, as the Gram matrix squares what rounding leaves of orthogonality.
        chosen = np.linalg.qr(chosen.T)[0].T
    return Modes(chosen.reshape(number, *mean.shape), mean)


def principal_descriptors(system: ForceSystem, complement: Array, number: int) -> Descriptors:
    """The principal components of a system's descriptors, each in units of its own deviation.

    Components are scaled so that their gradients, over the snapshots, have the mean square 1: as
    modes they are then in units of the coordinates.

    Args:
        system: The system.
        complement: y of n snapshots, shape [n, particle, component].
        number: Number of components.

    Raises:
        ValueError: If the descriptors span fewer directions than that.
    """
    values = system.descriptors(complement)
    scale, mean = values.std(axis=0), values.mean(axis=0)
    # What does not vary, but for rounding, counts for nothing.
    unit = np.where(scale > 1e-9 * np.abs(values).max(axis=0), scale, np.inf)
    standard = (values - mean) / unit
    variances, axes = np.linalg.eigh(standard.T @ standard / len(values))
    rank = int((variances > variances[-1] * 1e-9).sum())
    if number > rank:
        raise ValueError(
            f"closure.dimension is {number}, but the descriptors span {rank} directions: lower "
            "it, or simulate more runs"
        )
    directions = axes[:, ::-1][:, :number].T / unit
    found = Descriptors(system, directions, mean)
    some = complement[:: max(1, len(complement) // 64)]
    size = np.square(found.rows(some)).sum((2, 3)).mean(0)
    return Descriptors(system, directions / np.sqrt(size)[:, None], mean)
