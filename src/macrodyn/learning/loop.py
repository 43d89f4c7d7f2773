"""The training loop: batches, optimiser, validation, patience, checkpoints.

What is trained says what its parameters and losses are; everything else is here. An ensemble trains
its members side by side: parameters then have the members as their first dimension, a loss has one
entry for each, and no member feels another.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from macrodyn.learning.history import History
from macrodyn.learning.memory import keep_freed_memory
from macrodyn.learning.settings import TrainingSettings
from macrodyn.storage.checkpoints import Checkpoints, fingerprint

Parameters = dict[str, Tensor]
# Called with steps done, steps in all, and the mean validation loss.
Progress = Callable[[int, int, float], None]
# Tensors that a step depends on, besides parameters and optimiser.
_RESUMED = ("best_loss", "best_step", "waited", "running")


class Trainable(ABC):
    """What the loop trains.

    Attributes:
        section: Section of the configuration that sets the training, for messages.
        parameters: Leaf tensors by name; with more than one member, each of shape [M, ...].
        samples: Number of samples to learn from.
        members: Number of members M that are trained side by side.
        schedule: Learning rate over the steps: ``cosine`` falls to zero from the first step on;
            ``plateau`` rises for 2 % of them, stays until half of them and falls to zero on a
            cosine.
        waits_from: Share of the steps from which on patience counts: on a plateau losses scatter,
            and what falls with the rate is still to come.
        average: Largest decay per step of a moving average of the parameters, which averages over
            the last tenth of the steps until then, and which is what is validated and kept: noise
            of single samples makes the last iterate wander, not its average. 0 for none.
        weight_decay: Decoupled decay of those parameters that `decays` names.
    """

    section: str
    parameters: Parameters
    samples: int
    members: int = 1
    schedule: Literal["cosine", "plateau"] = "cosine"
    waits_from: float = 0.0
    average: float = 0.0
    weight_decay: float = 0.0

    @abstractmethod
    def loss(self, parameters: Parameters, index: Tensor | None) -> Tensor:
        """Mean loss of each member over a batch, shape [M], differentiable.

        Args:
            parameters: The parameters.
            index: Samples of each member's batch, shape [M, batch]; all samples if None.
        """

    @abstractmethod
    def validate(self, parameters: Parameters) -> Tensor:
        """Mean loss of each member over what is held out, shape [M], without a gradient."""

    @abstractmethod
    def identity(self) -> tuple[dict[str, Any], tuple[Tensor, ...]]:
        """Return the settings and data that a checkpoint must share."""

    def decays(self, name: str) -> bool:
        """Whether a parameter decays."""
        return False

    def clip(self, name: str) -> tuple[str, float] | None:
        """Return the network that a parameter belongs to and the largest norm of its gradient.

        Each member's gradient of each network is clipped on its own; None clips nothing.
        """
        return None

    def divergence(self, step: int) -> str:
        """Say what to do about a loss that is not finite."""
        return (
            f"The {self.section}'s loss diverged before step {step}: lower "
            f"{self.section}.learning_rate"
        )


def train(
    problem: Trainable,
    settings: TrainingSettings,
    *,
    seed: int,
    checkpoints: Checkpoints | None = None,
    progress: Progress | None = None,
) -> tuple[Parameters, History]:
    """Train until the steps or every member's patience end.

    An interrupted training continues from its checkpoint: on a CPU, with the same number of
    threads, to the same bits as without the interruption.

    Args:
        problem: What is trained; its parameters are changed in place.
        settings: How long, on what, and how fast.
        seed: Seed of the batches.
        checkpoints: Where to keep checkpoints while training; none by default. They stay, for
            whoever saves the result to remove. One of other data or settings is not used.
        progress: Called after each validation.

    Returns:
        Each member's best validated parameters, and the history.

    Raises:
        FloatingPointError: If a loss is not finite.
        Interrupted: If the checkpoints say that the training shall stop.
    """
    course = Course(problem, settings, seed)
    if checkpoints is not None:
        facts, data = problem.identity()
        given = {"settings": settings.model_dump(mode="json"), "seed": seed, **facts}
        if saved := checkpoints.open(fingerprint(given, *data)):
            course.restore(*saved[:2])
    while not course.finished:
        course.advance()
        if course.step % settings.validation_every == 0 or course.step == settings.steps:
            mean = course.validate()
            if progress is not None:
                progress(course.step, settings.steps, mean)
        if checkpoints is not None:
            checkpoints.after(course.step, settings.steps, course.state)
    if checkpoints is not None:
        checkpoints.close()
    return course.best, course.told()


class Course:
    """A training: everything that changes from step to step; `train` drives it.

    Args:
        problem: What is trained.
        settings: How long, on what, and how fast.
        seed: Seed of the batches.
    """

    def __init__(self, problem: Trainable, settings: TrainingSettings, seed: int) -> None:
        self.problem, self.settings = problem, settings
        self.parameters = problem.parameters
        device = next(iter(self.parameters.values())).device
        if device.type == "cpu":
            keep_freed_memory()
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)
        self.validated = _copy(self.parameters) if problem.average else self.parameters
        self.best = _copy(self.parameters)
        decaying = [p for name, p in self.parameters.items() if problem.decays(name)]
        others = [p for name, p in self.parameters.items() if not problem.decays(name)]
        groups = [
            {"params": parameters, "weight_decay": decay}
            for parameters, decay in ((decaying, problem.weight_decay), (others, 0.0))
            if parameters
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
        self.networks = self._networks()
        self.generator = torch.Generator(device).manual_seed(seed)
        members = problem.members
        self.step, self.since = 0, 0
        self.best_loss = torch.full((members,), math.inf, dtype=torch.float64)
        self.best_step = torch.zeros(members, dtype=torch.int64)
        self.waited = torch.zeros(members, dtype=torch.int64)
        self.running = torch.zeros(members, dtype=torch.float64, device=device)
        self.history = History()
        self._started = time.perf_counter()

    @property
    def finished(self) -> bool:
        """Whether the steps are done or every member has run out of patience."""
        return self.step >= self.settings.steps or self._impatient

    @property
    def _impatient(self) -> bool:
        return bool((self.waited >= self.settings.patience).all())

    def advance(self) -> None:
        """One optimiser step of every member."""
        settings, problem = self.settings, self.problem
        index = None
        if settings.batch < problem.samples:
            shape = (problem.members, settings.batch)
            device = self.generator.device
            index = torch.randint(problem.samples, shape, generator=self.generator, device=device)
        rate = settings.learning_rate * _SCHEDULES[problem.schedule](self.step, settings.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        loss = problem.loss(self.parameters, index)
        loss.sum().backward()
        self._clip()
        self.optimiser.step()
        self.step += 1
        self.since += 1
        self.running += loss.detach()
        if problem.average:
            decay = min(problem.average, self.step / (self.step + 9.0))
            with torch.no_grad():
                for name, average in self.validated.items():
                    average.lerp_(self.parameters[name], 1.0 - decay)

    def validate(self) -> float:
        """Keep the parameters where a member improved; return the mean validation loss."""
        with torch.no_grad():
            values = self.problem.validate(self.validated).double().cpu()
        trained = self.running / max(self.since, 1)
        if not bool(torch.isfinite(values).all() and torch.isfinite(trained).all()):
            raise FloatingPointError(self.problem.divergence(self.step))
        patience = self.settings.patience
        stopped = self.waited >= patience
        improved = (values < self.best_loss) & ~stopped
        self.best_loss = torch.where(improved, values, self.best_loss)
        self.best_step[improved] = self.step
        waits = int(self.step >= self.problem.waits_from * self.settings.steps)
        self.waited = torch.where(improved, 0, torch.where(stopped, patience, self.waited + waits))
        chosen = improved.to(self.generator.device)
        with torch.no_grad():
            for name, kept in self.best.items():
                now = self.validated[name]
                if self.problem.members > 1:
                    kept[chosen] = now[chosen]
                elif bool(improved):
                    kept.copy_(now)
        self.history.steps.append(self.step)
        self.history.training_loss.append(trained.tolist())
        self.history.validation_loss.append(values.tolist())
        self.running.zero_()
        self.since = 0
        return float(values.mean())

    def told(self) -> History:
        """The history of the whole training."""
        history = self.history
        history.best_step = self.best_step.tolist()
        history.best_loss = self.best_loss.tolist()
        history.finished_step = self.step
        history.stopped_early = self.step < self.settings.steps
        history.seconds += time.perf_counter() - self._started
        return history

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that the next step depends on."""
        tensors = {"generator": self.generator.get_state()}
        for kind, parameters in self._kept().items():
            tensors |= {f"{kind}/{name}": value.detach() for name, value in parameters.items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{index}/{name}": value for name, value in moments.items()}
        tensors |= {name: getattr(self, name) for name in _RESUMED}
        history = self.history.as_dict()
        history["seconds"] += time.perf_counter() - self._started
        return tensors, {"step": self.step, "since": self.since, "history": history}

    def restore(self, arrays: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
        """Continue from what `state` gave."""
        tensors = {name: torch.tensor(array) for name, array in arrays.items()}
        self.generator.set_state(tensors["generator"])
        with torch.no_grad():
            for kind, parameters in self._kept().items():
                for name, value in parameters.items():
                    value.copy_(tensors[f"{kind}/{name}"])
        for name in _RESUMED:
            getattr(self, name).copy_(tensors[name])
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimiser/"):
                _, index, moment = name.split("/")
                moments.setdefault(int(index), {})[moment] = tensor
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})
        self.step, self.since = metadata["step"], metadata["since"]
        self.history = History(**metadata["history"])

    def _kept(self) -> dict[str, Parameters]:
        kept = {"parameters": self.parameters, "best": self.best}
        return kept | ({"average": self.validated} if self.problem.average else {})

    def _networks(self) -> list[tuple[float, list[Tensor]]]:
        """Parameters whose gradients are clipped together, with the largest norm."""
        found: dict[str, tuple[float, list[Tensor]]] = {}
        for name, parameter in self.parameters.items():
            if (clip := self.problem.clip(name)) is not None:
                found.setdefault(clip[0], (clip[1], []))[1].append(parameter)
        return list(found.values())

    def _clip(self) -> None:
        members = self.problem.members
        for largest, parameters in self.networks:
            gradients = [p.grad for p in parameters if p.grad is not None]
            parts = [g.square().reshape(members, -1).sum(1) for g in gradients]
            squares = torch.stack(parts).sum(0)
            if bool((squares > largest**2).any()):
                scale = (largest * squares.rsqrt()).clamp(max=1.0)
                for gradient in gradients:
                    gradient *= scale.view(-1, *[1] * (gradient.dim() - 1))


def _cosine(step: int, steps: int) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * step / steps))


def _plateau(step: int, steps: int) -> float:
    """Short rise, constant to half-way, cosine to zero."""
    rise = max(1, steps // 50)
    if step < rise:
        return (step + 1) / rise
    half = steps // 2
    return 1.0 if step < half else _cosine(step - half, max(1, steps - half))


_SCHEDULES = {"cosine": _cosine, "plateau": _plateau}


def _copy(parameters: Parameters) -> Parameters:
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}
