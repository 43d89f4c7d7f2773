"""Training an ensemble of drift and diffusion networks by the partial likelihood."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from macrodyn.dynamics._optimiser import EnsembleAdamW, flatten
from macrodyn.dynamics.data import TransitionData
from macrodyn.dynamics.domain import Domain
from macrodyn.dynamics.gradient import LikelihoodGradient
from macrodyn.dynamics.model import Activation, Architecture, CovarianceForm, EnsembleSDE
from macrodyn.dynamics.scaling import fit_scalers
from macrodyn.storage.checkpoints import Checkpoints, fingerprint

Progress = Callable[[int, int], None]
# Tensors that a step depends on, besides the parameters.
_RESUMED = ("best_nll", "best_step", "waited", "running")
# What may change between an interruption and its continuation.
_FREE_TO_CHANGE = ("device",)


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How to train.

    Attributes:
        hidden: Widths of the hidden layers.
        activation: `silu` or `tanh`.
        covariance: `full`, `diagonal` or `constant`.
        members: Ensemble size E.
        steps: Most optimiser steps.
        batch: Transitions per member and step; all of them if the data hold fewer.
        learning_rate: Peak step size of AdamW; it rises for 2% of the steps, stays until half of
            them and falls to zero on a cosine.
        patience: Validations without improvement after which a member stops.
        validation_every: Steps between validations.
        weight_decay: Decoupled decay of the networks' weights (not of the linear drift).
        average: Largest decay per step of the moving average of the parameters, which averages
            over the last tenth of the steps until then. The average is what is validated and
            kept: the noise of single increments makes the last iterate wander, not its average.
        gradient_clip: Largest gradient norm of one network; m times as large for the diffusion
            where the data hold the scatter of m patches.
        seed: Seed of initial parameters and minibatches.
        device: `cpu`, `cuda`, or `auto`.
    """

    hidden: tuple[int, ...] = (64, 64)
    activation: Activation = "silu"
    covariance: CovarianceForm = "full"
    members: int = 5
    steps: int = 2000
    batch: int = 1024
    learning_rate: float = 1e-3
    patience: int = 15
    validation_every: int = 50
    weight_decay: float = 0.1
    average: float = 0.995
    gradient_clip: float = 1.0
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse settings that cannot train."""
        for name in ("steps", "batch", "patience", "validation_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.learning_rate > 0 or not self.gradient_clip > 0:
            raise ValueError("learning_rate and gradient_clip must be positive")
        if not 0.0 <= self.average < 1.0:
            raise ValueError(f"average must lie in [0, 1), got {self.average}")


@dataclass(kw_only=True)
class History:
    """How a training went; one column a member.

    Attributes:
        steps: Step of each validation, length V.
        train_nll: Mean minibatch NLL since the last validation, V rows of E.
        validation_nll: NLL of the averaged parameters, V rows of E.
        best_step: Step of each member's kept parameters.
        best_nll: Validation NLL of each member's kept parameters.
        finished_step: Step at which training ended.
        seconds: Wall time, interruptions not counted.
    """

    steps: list[int] = field(default_factory=list)
    train_nll: list[list[float]] = field(default_factory=list)
    validation_nll: list[list[float]] = field(default_factory=list)
    best_step: list[int] = field(default_factory=list)
    best_nll: list[float] = field(default_factory=list)
    finished_step: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def train_ensemble(
    data_train: TransitionData,
    data_val: TransitionData,
    settings: TrainingSettings,
    *,
    checkpoints: Checkpoints | None = None,
    progress: Progress | None = None,
) -> tuple[EnsembleSDE, History]:
    """Train E members at once on data that stay on the device.

    The likelihood is that of the mean increment, or of all m increments of a snapshot where the
    data hold their scatter.

    An interrupted training continues from its checkpoint: on a CPU, with the same number of
    threads, to the same bits as without the interruption.

    Args:
        data_train: Transitions to learn from.
        data_val: Transitions of other groups, for early stopping.
        settings: How to train.
        checkpoints: Where to keep checkpoints while training; none by default. They stay, for
            whoever saves the model to remove. One of other data or settings is not used.
        progress: Called as progress(step, steps) at each validation.

    Returns:
        The ensemble, each member at its best validated parameters, on the CPU, and the history.

    Raises:
        FloatingPointError: If a likelihood is not finite.
        Interrupted: If the checkpoints say that the training shall stop.

    Source: eq. (6) of arXiv:2511.12842.
    """
    trainer = Trainer(data_train, data_val, settings)
    if checkpoints is not None:
        saved = checkpoints.open(trainer.fingerprint())
        if saved is not None:
            trainer.restore(*saved[:2])
    while not trainer.finished:
        trainer.advance()
        if trainer.step % settings.validation_every == 0 or trainer.step == settings.steps:
            trainer.validate()
            if progress is not None:
                progress(trainer.step, settings.steps)
        if checkpoints is not None:
            checkpoints.after(trainer.step, settings.steps, trainer.state)
    if checkpoints is not None:
        checkpoints.close()
    return trainer.result()


class Trainer:
    """A training between two steps: `train_ensemble` drives it.

    Args:
        train: Transitions to learn from.
        validation: Transitions of other groups.
        settings: How to train.
    """

    def __init__(
        self, train: TransitionData, validation: TransitionData, settings: TrainingSettings
    ) -> None:
        device = settings.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.settings, self.device = settings, torch.device(device)
        architecture = Architecture(
            variables=train.variables,
            conditions=train.conditions.shape[1],
            members=settings.members,
            hidden=settings.hidden,
            activation=settings.activation,
            covariance=settings.covariance,
        )
        self.train, self.validation = train, validation
        self.model = EnsembleSDE(architecture, fit_scalers(train), seed=settings.seed)
        self.model.domain = Domain.of(train, validation)
        self.model.to(self.device)
        self.model.requires_grad_(False)
        self.averaged, self.best = copy.deepcopy(self.model), copy.deepcopy(self.model)
        self.optimiser = EnsembleAdamW(
            self.model,
            weight_decay=settings.weight_decay,
            gradient_clip=settings.gradient_clip,
            patches=train.patches,
        )
        self.average = flatten(self.averaged)
        self.gradient = LikelihoodGradient(self.model, train, self.optimiser.gradients)
        self.validation_nll = LikelihoodGradient(self.averaged, validation, {})
        self.generator = torch.Generator(self.device).manual_seed(settings.seed)
        members = settings.members
        self.step = 0
        self.best_nll = torch.full((members,), math.inf, dtype=torch.float64)
        self.best_step = torch.zeros(members, dtype=torch.int64)
        self.waited = torch.zeros(members, dtype=torch.int64)
        self.running = torch.zeros(members, dtype=torch.float64, device=self.device)
        self.since = 0
        self.history = History()
        self._started = time.perf_counter()

    @property
    def finished(self) -> bool:
        """Whether the steps are done or every member has run out of patience."""
        patience = self.settings.patience
        return self.step >= self.settings.steps or bool((self.waited >= patience).all())

    def advance(self) -> None:
        """One optimiser step of every member."""
        settings = self.settings
        n = len(self.gradient.rows)
        index = None
        if settings.batch < n:
            shape = (settings.members, settings.batch)
            index = torch.randint(n, shape, generator=self.generator, device=self.device)
        loss = self.gradient(index)
        rate = settings.learning_rate * _schedule(self.step, settings.steps)
        self.step += 1
        self.optimiser.update(self.step, rate)
        decay = min(settings.average, self.step / (self.step + 9.0))
        self.average.lerp_(self.optimiser.flat, 1.0 - decay)
        self.running += loss
        self.since += 1

    def validate(self) -> None:
        """Validate the averaged parameters; keep them where a member improved."""
        values = self.validation_nll.evaluate().double().cpu()
        if not bool(torch.isfinite(values).all()):
            raise FloatingPointError(
                f"The validation likelihood is not finite at step {self.step} (members "
                f"{values.tolist()}): lower dynamics.learning_rate (now "
                f"{self.settings.learning_rate}) or dynamics.weight_decay (now "
                f"{self.settings.weight_decay}), or look for outliers in the increments"
            )
        patience = self.settings.patience
        improved = (values < self.best_nll) & (self.waited < patience)
        stopped = self.waited >= patience
        self.best_nll = torch.where(improved, values, self.best_nll)
        self.best_step[improved] = self.step
        self.waited = torch.where(improved, 0, torch.where(stopped, patience, self.waited + 1))
        chosen = improved.to(self.device)
        for kept, average in zip(self.best.parameters(), self.averaged.parameters(), strict=True):
            self._by_member(kept)[:, chosen] = self._by_member(average)[:, chosen]
        self.history.steps.append(self.step)
        self.history.train_nll.append((self.running / max(self.since, 1)).tolist())
        self.history.validation_nll.append(values.tolist())
        self.running.zero_()
        self.since = 0

    def result(self) -> tuple[EnsembleSDE, History]:
        """The best validated parameters and the history."""
        self.history.best_step = self.best_step.tolist()
        self.history.best_nll = self.best_nll.tolist()
        self.history.finished_step = self.step
        self.history.seconds += time.perf_counter() - self._started
        return self.best.cpu().eval(), self.history

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that the next step depends on."""
        tensors = {"generator": self.generator.get_state()}
        for kind, module in self._modules().items():
            tensors |= {f"{kind}/{n}": p for n, p in module.named_parameters()}
        tensors |= {name: getattr(self, name) for name in _RESUMED}
        tensors |= {"first": self.optimiser.first, "second": self.optimiser.second}
        history = self.history.as_dict()
        history["seconds"] += time.perf_counter() - self._started
        return tensors, {"step": self.step, "since": self.since, "history": history}

    def restore(self, arrays: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
        """Continue from what `state` gave."""
        tensors = {name: torch.tensor(array) for name, array in arrays.items()}
        self.generator.set_state(tensors["generator"])
        for kind, module in self._modules().items():
            for name, parameter in module.named_parameters():
                parameter.copy_(tensors[f"{kind}/{name}"])
        for name in _RESUMED:
            getattr(self, name).copy_(tensors[name])
        self.optimiser.first.copy_(tensors["first"])
        self.optimiser.second.copy_(tensors["second"])
        self.step, self.since = metadata["step"], metadata["since"]
        self.history = History(**metadata["history"])

    def fingerprint(self) -> str:
        """Digest of the settings and data that a checkpoint must share."""
        settings = {k: v for k, v in asdict(self.settings).items() if k not in _FREE_TO_CHANGE}
        settings["factors"] = [self.train.factor, self.validation.factor]
        if self.train.scatter is not None or self.validation.scatter is not None:
            settings["scatter"] = [[d.patches, d.within] for d in (self.train, self.validation)]
        rows = (self.gradient.rows.cpu(), self.validation_nll.rows.cpu())
        return fingerprint(settings, *rows)

    def _modules(self) -> dict[str, EnsembleSDE]:
        return {"model": self.model, "averaged": self.averaged, "best": self.best}

    def _by_member(self, parameter: Tensor) -> Tensor:
        """A view [networks, E, ...]; the networks of member e do not depend on the others."""
        return parameter.unflatten(0, (-1, self.settings.members))


def _schedule(step: int, steps: int) -> float:
    """Learning rate relative to its peak: short rise, constant to half-way, cosine to zero."""
    rise = max(1, steps // 50)
    if step < rise:
        return (step + 1) / rise
    half = steps // 2
    if step < half:
        return 1.0
    return 0.5 * (1.0 + math.cos(math.pi * (step - half) / max(1, steps - half)))
