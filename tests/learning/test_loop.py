"""The training loop with something of its own to train."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor

from macrodyn.learning.loop import Parameters, Trainable, train
from macrodyn.learning.settings import TrainingSettings
from macrodyn.storage.checkpoints import Checkpoints, Interrupted

SETTINGS = TrainingSettings(
    steps=300, batch=32, learning_rate=0.05, patience=50, validation_every=10
)


class Lines(Trainable):
    """Members fit y = a x + b, each to its own slope."""

    section = "barriers"

    def __init__(self, members: int = 1, **attributes: object) -> None:
        generator = torch.Generator().manual_seed(1)
        self.members, self.samples = members, 200
        shape = (members, 1) if members > 1 else (1,)
        self.parameters = {"slope": torch.zeros(shape), "offset": torch.zeros(shape)}
        self.x = torch.randn(250, generator=generator)
        noise = 0.05 * torch.randn(members, 250, generator=generator)
        self.y = torch.arange(1, members + 1)[:, None] * self.x - 0.5 + noise
        self.valid_only: float | None = None
        vars(self).update(attributes)

    def _errors(self, parameters: Parameters, index: Tensor) -> Tensor:
        y = self.y.gather(1, index)
        found = parameters["slope"] * self.x[index] + parameters["offset"]
        return (found - y).square().mean(1)

    def loss(self, parameters: Parameters, index: Tensor | None) -> Tensor:
        if index is None:
            index = torch.arange(self.samples).expand(self.members, -1)
        return self._errors(parameters, index)

    def validate(self, parameters: Parameters) -> Tensor:
        if self.valid_only is not None:
            return torch.full((self.members,), self.valid_only)
        return self._errors(parameters, torch.arange(200, 250).expand(self.members, -1))

    def identity(self):
        return {"members": self.members}, (self.x, self.y)


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize("members", [1, 3])
def test_it_finds_what_each_member_must(members: int, schedule: str, average: float) -> None:
    best, history = train(Lines(members, schedule=schedule, average=average), SETTINGS, seed=0)
    slopes = torch.arange(1.0, members + 1)
    torch.testing.assert_close(best["slope"].flatten(), slopes, atol=0.03, rtol=0)
    torch.testing.assert_close(
        best["offset"].flatten(), torch.full((members,), -0.5), atol=0.03, rtol=0
    )
    assert history.steps == list(range(10, 301, 10)) and not history.stopped_early
    assert len(history.best_step) == members and max(history.best_loss) < 0.01
    assert all(len(row) == members for row in history.training_loss)


@pytest.mark.parametrize("stop_at", [(1,), (57,), (100, 45)], ids=str)
@pytest.mark.parametrize("average", [0.0, 0.9])
def test_an_interrupted_training_ends_in_the_same_bits(
    tmp_path: Path, stop_at: tuple[int, ...], average: float
) -> None:
    whole, course = train(Lines(2, average=average), SETTINGS, seed=4)
    for steps in stop_at:
        calls = itertools.count(1)
        stopping = Checkpoints(tmp_path, stop=lambda calls=calls, steps=steps: next(calls) >= steps)
        with pytest.raises(Interrupted):
            train(Lines(2, average=average), SETTINGS, seed=4, checkpoints=stopping)
    seen: list[int] = []
    again, resumed = train(
        Lines(2, average=average),
        SETTINGS,
        seed=4,
        checkpoints=Checkpoints(tmp_path),
        progress=lambda step, steps, loss: seen.append(step),
    )
    assert min(seen) > sum(stop_at)
    for name, value in whole.items():
        assert torch.equal(again[name], value)
    assert resumed.validation_loss == course.validation_loss
    assert resumed.training_loss == course.training_loss


def test_another_seed_or_setting_does_not_use_the_checkpoint(tmp_path: Path) -> None:
    calls = itertools.count(1)
    with pytest.raises(Interrupted):
        stopping = Checkpoints(tmp_path, stop=lambda: next(calls) >= 50)
        train(Lines(), SETTINGS, seed=4, checkpoints=stopping)
    other = SETTINGS.model_copy(update={"batch": 16})
    for settings, seed in ((SETTINGS, 5), (other, 4)):
        fresh, _ = train(Lines(), settings, seed=seed)
        beside, _ = train(Lines(), settings, seed=seed, checkpoints=Checkpoints(tmp_path))
        assert torch.equal(fresh["slope"], beside["slope"])


def test_patience_ends_it_and_the_best_is_kept() -> None:
    """Losses that never fall again: the first validation is the best."""
    settings = SETTINGS.model_copy(update={"patience": 3})
    problem = Lines(valid_only=1.0)
    best, history = train(problem, settings, seed=0)
    assert history.finished_step == 40 and history.stopped_early
    assert history.best_step == [10]
    assert not torch.equal(best["slope"], problem.parameters["slope"])


def test_patience_can_wait_for_the_rate_to_fall() -> None:
    settings = SETTINGS.model_copy(update={"patience": 3})
    problem = Lines(valid_only=1.0)
    problem.waits_from = 0.5
    _, history = train(problem, settings, seed=0)
    # The validations at steps 150, 160 and 170 are the first that count, of 300 steps.
    assert history.finished_step == 170 and history.best_step == [10]


def test_a_loss_that_is_not_finite_is_told_by_its_key() -> None:
    with pytest.raises(
        FloatingPointError, match=r"barriers's loss .* lower barriers\.learning_rate"
    ):
        train(Lines(valid_only=float("nan")), SETTINGS, seed=0)


def test_gradients_are_clipped_network_by_network() -> None:
    """With the slope's gradient clipped to nothing it stays, and the offset moves."""

    class Clipped(Lines):
        def clip(self, name: str) -> tuple[str, float]:
            return name, 1e-12 if name == "slope" else 1e3

    settings = SETTINGS.model_copy(update={"steps": 1, "validation_every": 1})
    problem = Clipped(2)
    problem.loss(problem.parameters, None)
    train(problem, settings, seed=0)
    # Adam divides by the gradient's own size, unless it is as small as its epsilon.
    assert float(problem.parameters["slope"].detach().abs().max()) < 1e-4
    assert float(problem.parameters["offset"].detach().abs().min()) > 1e-3


def test_what_decays_shrinks() -> None:
    class Decaying(Lines):
        weight_decay = 5.0

        def decays(self, name: str) -> bool:
            return name == "offset"

    best, _ = train(Decaying(), SETTINGS, seed=0)
    plain, _ = train(Lines(), SETTINGS, seed=0)
    assert abs(float(best["offset"])) < 0.9 * abs(float(plain["offset"]))
    torch.testing.assert_close(best["slope"], plain["slope"], atol=0.2, rtol=0)
