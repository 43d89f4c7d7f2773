"""Training of closure variables of coordinates: reconstruction, and a well-conditioned Jacobian."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from macrodyn.closure.autoencoder import Autoencoder
from macrodyn.closure.conditioning import condition_number, dense_gram
from macrodyn.closure.encoders import Encoder, Network, principal_descriptors, principal_modes
from macrodyn.closure.layers import Architecture
from macrodyn.config.section import LearningRate, NotNegativeFloat, PositiveInt
from macrodyn.learning.history import History
from macrodyn.learning.holdout import hold_out
from macrodyn.learning.loop import Parameters, Progress, Trainable, train
from macrodyn.learning.settings import TrainingSettings
from macrodyn.storage.checkpoints import Checkpoints
from macrodyn.systems.force_system import ForceSystem

Array = NDArray[np.float64]


class CoordinateClosureSettings(TrainingSettings):
    """The closure variables of coordinates: linear modes, an autoencoder's, or descriptors."""

    encoder: Literal["modes", "dense", "descriptors"] = Field(
        default="modes",
        description="modes: principal components, orthonormal. dense: an autoencoder of dense "
        "layers. descriptors: principal components of what the system says of a state whichever "
        "particle is which.",
    )
    dimension: PositiveInt = Field(default=2, description="Closure variables.")
    snapshots: PositiveInt = Field(
        default=4096, description="Most snapshots that they are found from, spread over the runs."
    )
    channels: tuple[PositiveInt, ...] = Field(
        default=(64, 64), min_length=1, description="Widths of the encoder's layers, if dense."
    )
    hidden: PositiveInt = Field(default=64, description="Width of the decoder's layers.")
    condition_penalty: NotNegativeFloat = Field(
        default=1e-5,
        description="Weight of the mean square of the Jacobian's condition number less 1, beside "
        "the reconstruction loss in units of the coordinates' variance.",
    )
    weight_decay: NotNegativeFloat = Field(
        default=1e-4, description="Decoupled decay of the weights."
    )
    steps: PositiveInt = Field(default=3000, description="Most steps of the optimiser.")
    batch: PositiveInt = Field(default=128, description="Snapshots per step.")
    learning_rate: LearningRate = 1e-3
    patience: PositiveInt = Field(
        default=10, description="Validations without improvement before training stops."
    )
    validation_every: PositiveInt = 100


def find_closure(
    complement: Array,
    gradients: Array | None,
    observables: Array,
    settings: CoordinateClosureSettings,
    *,
    groups: NDArray[np.int64],
    seed: int = 0,
    device: str = "cpu",
    checkpoints: Checkpoints | None = None,
    progress: Progress | None = None,
    system: ForceSystem | None = None,
) -> tuple[Encoder, History]:
    """Find closure variables of snapshots.

    Args:
        complement: y of n snapshots (`ForceSystem.complement`), shape [n, particle, component].
        gradients: Gradients of the observables, shape [n, observable, particle, component], if y
            feels the observables: the condition number then counts these rows as well.
        observables: z* of the snapshots, shape [n, observable].
        settings: Which, and how they are trained.
        groups: Run of each snapshot, shape [n]: whole runs are held out.
        seed: Seed of the weights, the split and the batches.
        device: Where to train.
        checkpoints: Where to keep checkpoints while training, see `learning.loop.train`.
        progress: Called after each validation.
        system: The system, which the encoder ``descriptors`` needs.

    Returns:
        The encoder, and the course of its training, empty where it is not trained.

    Raises:
        ValueError: If the snapshots span too few directions, or there is no system with
            descriptors.
        FloatingPointError: If the loss diverges.
        Interrupted: If the checkpoints say that the training shall stop.

    Source: eq. (11) of arXiv:2410.23938.
    """
    if settings.encoder == "modes":
        return principal_modes(complement, settings.dimension), History()
    if settings.encoder == "descriptors":
        if system is None or not system.descriptor_names:
            raise ValueError("closure.encoder is descriptors, but the system has none")
        return principal_descriptors(system, complement, settings.dimension), History()
    training, validation = hold_out(groups, settings.validation_fraction, seed=seed)
    model = Autoencoder(
        Architecture(
            kind="coordinates",
            patch=complement.shape[2:],
            state_channels=complement.shape[1],
            observables=observables.shape[1],
            closure_dim=settings.dimension,
            encoder="dense",
            channels=settings.channels,
            hidden=settings.hidden,
        ),
        seed=seed,
    )
    states, given = (torch.as_tensor(v, dtype=torch.float32) for v in (complement, observables))
    model.fit_scalers(states[training], given[training])
    # One unit for all coordinates: orthogonal rows then are so in the coordinates themselves.
    model.field_scale.fill_(float(model.field_scale.square().mean().sqrt()))
    rows = None
    if gradients is not None:
        flat = torch.as_tensor(gradients, dtype=torch.float32).flatten(2)
        # Observables have units of their own: each row is given the size of the others' typical.
        rows = flat / flat.square().sum(2).mean(0).sqrt()[:, None]
    problem = _Conditioned(
        model.to(device),
        states.to(device),
        given.to(device),
        None if rows is None else rows.to(device),
        (training, validation),
        settings,
    )
    best, history = train(problem, settings, seed=seed, checkpoints=checkpoints, progress=progress)
    model.load_state_dict(best, strict=False)
    return Network(_in_units_of_coordinates(model.cpu(), states[training])), history


class _Conditioned(Trainable):
    """Reconstruction loss plus the penalty on the condition number, on data on the device."""

    section = "closure"

    def __init__(
        self,
        model: Autoencoder,
        states: Tensor,
        observables: Tensor,
        rows: Tensor | None,
        split: tuple[NDArray[np.int64], NDArray[np.int64]],
        settings: CoordinateClosureSettings,
    ) -> None:
        self.model, self.states, self.observables, self.rows = model, states, observables, rows
        self.parameters = dict(model.named_parameters())
        self.training, self.validation = (torch.as_tensor(s, device=states.device) for s in split)
        self.samples = len(self.training)
        self.penalty, self.weight_decay = settings.condition_penalty, settings.weight_decay
        self.batch = settings.batch

    def decays(self, name: str) -> bool:
        """Whether it is a weight."""
        return name.endswith("weight")

    def loss(self, parameters: Parameters, index: Tensor | None) -> Tensor:
        """Mean loss of a batch, shape [1]; see `Trainable.loss`."""
        return self._loss(self.training if index is None else self.training[index[0]])[None]

    @torch.no_grad()
    def validate(self, parameters: Parameters) -> Tensor:
        """Mean loss of the held-out runs, shape [1]."""
        parts = self.validation.split(self.batch)
        total = sum(float(self._loss(part)) * len(part) for part in parts)
        return torch.tensor([total / len(self.validation)])

    def identity(self) -> tuple[dict[str, Any], tuple[Tensor, ...]]:
        """What a checkpoint must share; see `Trainable.identity`."""
        facts = {"penalty": self.penalty, "weight_decay": self.weight_decay}
        kept = (self.states, self.observables, self.training, self.validation)
        return facts, tuple(value.cpu() for value in kept)

    def _loss(self, rows: Tensor) -> Tensor:
        states = self.states[rows]
        loss = self.model.loss(states, self.observables[rows])
        if not self.penalty:
            return loss
        others = None if self.rows is None else self.rows[rows]
        gram = dense_gram(self.model, states, others)
        if others is not None:
            gram = _evened(gram, others.shape[1])
        return loss + self.penalty * (condition_number(gram) - 1.0).square().mean()


def _evened(gram: Tensor, others: int) -> Tensor:
    """The Gram matrix with the closure's rows in units of their typical size.

    Rows of observables are of size 1: the unit of the closure variables is a matter of convention
    and must not count.
    """
    size = gram.diagonal(dim1=1, dim2=2)[:, others:].mean().sqrt()
    scale = torch.ones(gram.shape[-1], device=gram.device)
    scale = torch.where(torch.arange(len(scale), device=gram.device) < others, scale, 1.0 / size)
    return gram * scale[:, None] * scale


@torch.no_grad()
def _in_units_of_coordinates(model: Autoencoder, states: Tensor) -> Autoencoder:
    """Scale the closure variables by one factor, so that their gradients are of size 1.

    As modes they are then in units of the coordinates. Each on its own scale would let noise of
    those that hardly vary count as much as what the others say.
    """
    sample = states[:: max(1, len(states) // 256)]
    size = dense_gram(model, sample).diagonal(dim1=1, dim2=2).mean().sqrt()
    model.closure_scale.mul_(size)
    model.closure_shift.copy_(model.encode(sample).mean(0) * model.closure_scale)
    return model
