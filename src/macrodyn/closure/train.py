"""Training of the closure."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from macrodyn.closure.layers import Architecture
from macrodyn.closure.model import PatchAutoencoder
from macrodyn.closure.reconstruction import as_states, check_states
from macrodyn.closure.settings import ClosureSettings
from macrodyn.learning.history import History
from macrodyn.learning.holdout import hold_out
from macrodyn.learning.loop import Parameters, Progress, Trainable, train
from macrodyn.storage.checkpoints import Checkpoints
from macrodyn.systems.space import StateKind

# Most patches that a validation reads.
VALIDATION_PATCHES = 8192


def train_closure(
    patches: np.ndarray,
    observables: np.ndarray,
    settings: ClosureSettings,
    *,
    kind: StateKind,
    groups: np.ndarray,
    snapshots: np.ndarray,
    species: int = 0,
    seed: int = 0,
    device: str = "cpu",
    train_baseline: bool = False,
    checkpoints: Checkpoints | None = None,
    progress: Progress | None = None,
) -> tuple[PatchAutoencoder, History]:
    """Train the autoencoder that finds closure variables of patches.

    A training that was interrupted goes on from its checkpoint and, on the CPU, ends with the
    same bits. A checkpoint of other data or settings is not used.

    Args:
        patches: States, shape [N, channel, *patch]; int8 or uint8 stay compact on the device.
        observables: z*_I of each patch, shape [N, observable]; for a decoder of the whole z* of
            its snapshot.
        settings: How to train.
        kind: Kind of the states.
        groups: What is held out together, shape [N], int.
        snapshots: Which snapshot each patch belongs to, shape [N], int: the closure variables
            are scaled to mean 0 and variance 1 of their means over these.
        species: Number of species, for `kind="species"`, whose sites hold 0 to species - 1.
        seed: Seed of the weights, the split and the batches.
        device: Where to train.
        train_baseline: Train the decoder on the observables alone where there is no closure
            variable.
        checkpoints: Where to keep checkpoints while training; none by default. They stay, for
            whoever saves the model to remove.
        progress: Called after each validation with steps done, steps in all, validation loss.

    Returns:
        The model with the best weights, ready for evaluation, and the course of the training.

    Raises:
        ValueError: If shapes or values do not fit, or a closure variable came out constant.
        FloatingPointError: If the loss diverges.
        Interrupted: If the checkpoints say that the training shall stop.

    Source: eqs. (1) and (2) of arXiv:2511.12842.
    """
    states = as_states(patches)
    given = torch.as_tensor(np.asarray(observables, dtype=np.float32))
    check_states(states, kind, species)
    if given.ndim != 2 or len(given) != len(states):
        raise ValueError(
            f"observables must have shape [{len(states)}, observable], got {tuple(given.shape)}"
        )
    snapshots = _labels(snapshots, len(states), "snapshots")
    groups = _labels(groups, len(states), "groups")
    architecture = architecture_of(states, given, settings, kind, species)
    model = PatchAutoencoder(architecture, seed=seed)
    training, validation = hold_out(groups, settings.validation_fraction, seed=seed)
    model.fit_scalers(states[training], given[training])
    model.to(device)
    if settings.dimension == 0 and not train_baseline:
        return model.eval(), History()
    problem: _Reconstruction = _Reconstruction(
        model, states.to(device), given.to(device), training, validation
    )
    if settings.decoder == "whole":
        problem = _Snapshots(
            model, states.to(device), given.to(device), training, validation, snapshots
        )
        settings = settings.model_copy(
            update={"batch": max(1, settings.batch // problem.rows.shape[1])}
        )
    best, history = train(problem, settings, seed=seed, checkpoints=checkpoints, progress=progress)
    model.load_state_dict(best, strict=False)
    model.requires_grad_(False).eval()
    if settings.dimension > 0:
        closure = model.encode_patches(problem.states[problem.training])
        model.fit_normalisation(_means_by_label(closure, snapshots[training]))
    return model, history


@torch.no_grad()
def reconstruction_error(
    model: PatchAutoencoder, patches: np.ndarray | Tensor, observables: np.ndarray | Tensor
) -> float:
    """Mean reconstruction loss per site over any number of patches, in bounded memory.

    Args:
        model: The model.
        patches: States, shape [N, channel, *patch].
        observables: z*_I, shape [N, observable].

    Returns:
        The loss, in the units of `reconstruction_loss`.
    """
    device = model.closure_shift.device
    states, given = as_states(patches), as_states(observables)
    total = 0.0
    for start in range(0, len(states), model.chunk):
        part = slice(start, start + model.chunk)
        loss = model.loss(states[part].to(device), given[part].to(device))
        total += float(loss) * len(states[part])
    return total / len(states)


class _Reconstruction(Trainable):
    """Reconstruction loss per site of an autoencoder, on data that stay on the device."""

    section = "closure"

    def __init__(
        self,
        model: PatchAutoencoder,
        states: Tensor,
        observables: Tensor,
        training: np.ndarray,
        validation: np.ndarray,
    ) -> None:
        self.model, self.states, self.observables = model, states, observables
        self.parameters = dict(model.named_parameters())
        self.training = torch.as_tensor(training, device=states.device)
        self.samples = len(training)
        if len(validation) > VALIDATION_PATCHES:
            kept = np.linspace(0, len(validation) - 1, VALIDATION_PATCHES).astype(int)
            validation = validation[kept]
        self.validation = torch.as_tensor(validation, device=states.device)

    def loss(self, parameters: Parameters, index: Tensor | None) -> Tensor:
        """Mean loss of a batch, shape [1]; see `Trainable.loss`."""
        batch = self.training if index is None else self.training[index[0]]
        return self.model.loss(self.states[batch], self.observables[batch])[None]

    def validate(self, parameters: Parameters) -> Tensor:
        """Mean loss of the held-out patches, shape [1]."""
        held_out = self.states[self.validation], self.observables[self.validation]
        return torch.tensor([reconstruction_error(self.model, *held_out)])

    def identity(self) -> tuple[dict[str, Any], tuple[Tensor, ...]]:
        """What a checkpoint must share; see `Trainable.identity`."""
        facts = {"kind": self.model.architecture.kind, "species": self.model.architecture.species}
        rows = (self.training.cpu(), self.validation.cpu())
        return facts, (self.states.cpu(), self.observables.cpu(), *rows)


class _Snapshots(_Reconstruction):
    """Loss of the patches of whole snapshots, as many of each."""

    def __init__(
        self,
        model: PatchAutoencoder,
        states: Tensor,
        observables: Tensor,
        training: np.ndarray,
        validation: np.ndarray,
        snapshots: np.ndarray,
    ) -> None:
        super().__init__(model, states, observables, training, validation)
        self.rows = _by_snapshot(training, snapshots).to(states.device)
        held_out = _by_snapshot(validation, snapshots)
        kept = max(1, VALIDATION_PATCHES // held_out.shape[1])
        if len(held_out) > kept:
            held_out = held_out[np.linspace(0, len(held_out) - 1, kept).astype(int)]
        self.held_out = held_out.to(states.device)
        self.samples = len(self.rows)

    def loss(self, parameters: Parameters, index: Tensor | None) -> Tensor:
        """Mean loss of a batch of snapshots, shape [1]; see `Trainable.loss`."""
        return self._loss(self.rows if index is None else self.rows[index[0]])[None]

    @torch.no_grad()
    def validate(self, parameters: Parameters) -> Tensor:
        """Mean loss of the held-out snapshots, shape [1]."""
        each = max(1, self.model.chunk // self.held_out.shape[1])
        parts = self.held_out.split(each)
        total = sum(float(self._loss(rows)) * len(rows) for rows in parts)
        return torch.tensor([total / len(self.held_out)])

    def _loss(self, rows: Tensor) -> Tensor:
        """Of patches, [snapshot, m]; the observables are those of the snapshot, at each of them."""
        return self.model.snapshot_loss(self.states[rows], self.observables[rows[:, 0]])


def _by_snapshot(rows: np.ndarray, snapshots: np.ndarray) -> Tensor:
    """Rows of the patches of each snapshot, shape [snapshot, m].

    Raises:
        ValueError: If the snapshots have not all as many patches, and two or more.
    """
    order = rows[np.argsort(snapshots[rows], kind="stable")]
    counts = np.unique(snapshots[rows], return_counts=True)[1]
    if counts.min() != counts.max() or counts[0] < 2:
        raise ValueError(
            "closure.decoder: whole needs two patches or more of each snapshot, as many of all"
        )
    return torch.as_tensor(order.reshape(len(counts), counts[0]))


def architecture_of(
    states: Tensor,
    observables: Tensor,
    settings: ClosureSettings,
    kind: StateKind,
    species: int,
    **more: Any,
) -> Architecture:
    """Shapes of the autoencoder of some patches, [N, channel, *patch], with some settings."""
    fields: dict[str, Any] = {
        "kind": kind,
        "patch": tuple(states.shape[2:]),
        "state_channels": states.shape[1],
        "species": species,
        "observables": observables.shape[1],
        "closure_dim": settings.dimension,
        "encoder": settings.encoder,
        "decoder": settings.decoder,
        "channels": tuple(settings.channels),
        "hidden": settings.hidden,
    }
    return Architecture(**(fields | more))


def _labels(labels: np.ndarray, size: int, name: str) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != (size,):
        raise ValueError(f"{name} must have shape [{size}], got {list(labels.shape)}")
    return labels


def _means_by_label(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    _, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, index, values)
    return sums / counts[:, None]
