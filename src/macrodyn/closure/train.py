"""Training of the closure: data resident, early stopping, resumable to the same bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from macrodyn.closure.layers import Architecture
from macrodyn.closure.model import PatchAutoencoder
from macrodyn.closure.reconstruction import as_states, check_states
from macrodyn.closure.settings import ClosureSettings, History
from macrodyn.storage.checkpoints import Checkpoints, fingerprint
from macrodyn.systems.space import StateKind

Progress = Callable[[int, int, float], None]


def train_closure(
    patches: np.ndarray,
    observables: np.ndarray,
    settings: ClosureSettings,
    *,
    kind: StateKind,
    groups: np.ndarray,
    snapshots: np.ndarray,
    species: int = 0,
    checkpoints: Checkpoints | None = None,
    progress: Progress | None = None,
) -> tuple[PatchAutoencoder, History]:
    """Train the autoencoder that finds closure variables of patches.

    A training that was interrupted goes on from its checkpoint and, on the CPU, ends with the
    same bits. A checkpoint of other data or settings is not used.

    Args:
        patches: States, shape [N, channel, *patch]; int8 or uint8 stay compact on the device.
        observables: z*_I of each patch, shape [N, observable].
        settings: How to train.
        kind: Kind of the states.
        groups: What is held out together, shape [N], int.
        snapshots: Which snapshot each patch belongs to, shape [N], int: the closure variables
            are scaled to mean 0 and variance 1 of their means over these.
        species: Number of species, for `kind="species"`, whose sites hold 0 to species - 1.
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
    device = torch.device(settings.device)
    states = as_states(patches)
    given = torch.as_tensor(np.asarray(observables, dtype=np.float32))
    check_states(states, kind, species)
    if given.ndim != 2 or len(given) != len(states):
        raise ValueError(
            f"observables must have shape [{len(states)}, observable], got {tuple(given.shape)}"
        )
    snapshots = _labels(snapshots, len(states), "snapshots")
    groups = _labels(groups, len(states), "groups")
    architecture = _architecture(states, given, settings, kind, species)
    model = PatchAutoencoder(architecture, seed=settings.seed)
    training, validation = split_groups(groups, settings.validation_fraction, settings.seed)
    model.fit_scalers(states[training], given[training])
    model.to(device)
    if settings.dimension == 0 and not settings.train_baseline:
        return model.eval(), History()

    run = _Run(model, states.to(device), given.to(device), training, validation, settings)
    if checkpoints is not None:
        identity = {"settings": asdict(settings), "kind": kind, "species": architecture.species}
        stored = checkpoints.open(fingerprint(identity, states, given, groups))
        if stored is not None:
            run.restore(*stored)
    run.train(progress, checkpoints)
    model.load_state_dict(run.best)
    model.eval()
    if settings.dimension > 0:
        closure = model.encode_patches(run.states[run.training])
        model.fit_normalisation(_means_by_label(closure, snapshots[training]))
    if checkpoints is not None:
        checkpoints.close()
    return model, run.history


def split_groups(groups: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Hold out whole groups, so that nothing held out has a relative in the training set.

    Args:
        groups: Group of each member, shape [N], int.
        fraction: Part of the groups to hold out; at least one, and not all.
        seed: Seed of the choice.

    Returns:
        Indices of the training and of the validation members, each ascending.

    Raises:
        ValueError: If there are fewer than two groups.
    """
    names = np.unique(groups)
    if len(names) < 2:
        raise ValueError("At least two groups are needed to hold one out for validation")
    count = min(max(1, round(fraction * len(names))), len(names) - 1)
    held_out = np.random.default_rng(seed).choice(names, size=count, replace=False)
    mask = np.isin(groups, held_out)
    return np.flatnonzero(~mask), np.flatnonzero(mask)


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


class _Run:
    """A training: everything that changes from step to step."""

    def __init__(
        self,
        model: PatchAutoencoder,
        states: Tensor,
        observables: Tensor,
        training: np.ndarray,
        validation: np.ndarray,
        settings: ClosureSettings,
    ) -> None:
        self.model, self.states, self.observables = model, states, observables
        self.settings = settings
        self.training = torch.as_tensor(training, device=states.device)
        if len(validation) > settings.validation_patches:
            kept = np.linspace(0, len(validation) - 1, settings.validation_patches).astype(int)
            validation = validation[kept]
        self.validation = torch.as_tensor(validation, device=states.device)
        self.optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, fused=True)
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.step = 0
        self.losses: list[Tensor] = []
        self.best = _copy(model)
        self.history = History()

    def train(self, progress: Progress | None, checkpoints: Checkpoints | None) -> None:
        """Step until the steps or the patience end."""
        settings = self.settings
        if self.states.device.type == "cpu":
            _keep_freed_memory()
        while self.step < settings.steps and not self.history.stopped_early:
            self.losses.append(self._advance())
            if self.step % settings.validation_every == 0 or self.step == settings.steps:
                self._validate(float(torch.stack(self.losses).double().mean()))
                self.losses = []
                if progress is not None:
                    progress(self.step, settings.steps, self.history.validation_loss[-1])
            if checkpoints is not None:
                checkpoints.after(self.step, settings.steps, self.state)

    def _advance(self) -> Tensor:
        settings = self.settings
        rate = 0.5 * settings.learning_rate * (1 + math.cos(math.pi * self.step / settings.steps))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        draw = torch.randint(len(self.training), (settings.batch,), generator=self.generator)
        batch = self.training[draw.to(self.training.device)]
        self.optimiser.zero_grad()
        loss = self.model.loss(self.states[batch], self.observables[batch])
        loss.backward()
        self.optimiser.step()
        self.step += 1
        return loss.detach()

    def _validate(self, training_loss: float) -> None:
        history = self.history
        loss = reconstruction_error(
            self.model, self.states[self.validation], self.observables[self.validation]
        )
        if not (math.isfinite(loss) and math.isfinite(training_loss)):
            raise FloatingPointError(
                f"The closure's loss diverged before step {self.step}: lower "
                f"closure.learning_rate (now {self.settings.learning_rate})"
            )
        history.steps.append(self.step)
        history.training_loss.append(training_loss)
        history.validation_loss.append(loss)
        if history.best_loss is None or loss < history.best_loss:
            history.best_loss, history.best_step = loss, self.step
            self.best = _copy(self.model)
        since = len(history.steps) - 1 - history.steps.index(history.best_step)
        history.stopped_early = since >= self.settings.patience and self.step < self.settings.steps

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that the next step depends on."""
        stored = {"generator": self.generator.get_state()}
        stored |= {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        stored |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            stored |= {f"optimiser.{index}.{name}": tensor for name, tensor in state.items()}
        if self.losses:
            stored["losses"] = torch.stack(self.losses)
        return stored, asdict(self.history)

    def restore(self, arrays: dict[str, np.ndarray], history: dict[str, Any], step: int) -> None:
        """Take up a training where `state` left it."""
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimiser": {}}
        tensors = {name: torch.tensor(array) for name, array in arrays.items()}
        self.generator.set_state(tensors.pop("generator"))
        losses = tensors.pop("losses", None)
        self.losses = [] if losses is None else list(losses.to(self.states.device))
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        self.model.load_state_dict(parts["model"])
        self.best = {name: tensor.to(self.states.device) for name, tensor in parts["best"].items()}
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in parts["optimiser"].items():
            index, _, rest = name.partition(".")
            moments.setdefault(int(index), {})[rest] = tensor
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})
        self.step = step
        self.history = History(**history)


def _architecture(
    states: Tensor,
    observables: Tensor,
    settings: ClosureSettings,
    kind: StateKind,
    species: int,
) -> Architecture:
    return Architecture(
        kind=kind,
        patch=tuple(states.shape[2:]),
        state_channels=states.shape[1],
        species=species,
        observables=observables.shape[1],
        closure_dim=settings.dimension,
        encoder=settings.encoder,
        channels=tuple(settings.channels),
        hidden=settings.hidden,
    )


def _keep_freed_memory() -> None:
    """Keep activations of up to 32 MiB in the process between steps.

    Freeing one large block makes the C library (glibc) stop giving back smaller ones, so that
    each step need not fault its activations in again: a quarter less time on a CPU.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


def _copy(model: PatchAutoencoder) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


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
