"""Latent models of one's own: any parameters, with noise or without, under linear constraints."""

from __future__ import annotations

import importlib
import math
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from macrodyn.dynamics import (
    DynamicsSettings,
    Ensemble,
    LatentModel,
    LinearConstraint,
    TransitionData,
    integrate,
    train_ensemble,
)
from macrodyn.dynamics.latent import LATENT_MODELS
from macrodyn.dynamics.walls import Walls


class OrnsteinUhlenbeck(LatentModel):
    """A linear drift with a constant noise, by parameters of its own names."""

    def __init__(self, variables: int, conditions: int, start: float = 0.0) -> None:
        super().__init__(variables, conditions)
        self.pull = nn.Parameter(torch.full((variables, variables), start))
        self.log_size = nn.Parameter(torch.zeros(variables * (variables + 1) // 2))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        rows, columns = torch.tril_indices(self.variables, self.variables)
        entries = torch.where(rows == columns, self.log_size.exp(), self.log_size)
        return -(inputs[..., : self.variables] @ self.pull.T), entries.expand(
            *inputs.shape[:-1], -1
        )


class Oscillator(LatentModel):
    """dz/dt = A z without noise."""

    noisy = False

    def __init__(self, variables: int, conditions: int) -> None:
        super().__init__(variables, conditions)
        self.matrix = nn.Parameter(torch.zeros(variables, variables))

    def forward(self, inputs: Tensor) -> tuple[Tensor, None]:
        return inputs @ self.matrix.T, None


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LATENT_MODELS, "ou", OrnsteinUhlenbeck)
    monkeypatch.setitem(LATENT_MODELS, "oscillator", Oscillator)


SETTINGS = DynamicsSettings(
    members=2, steps=400, batch=2048, learning_rate=0.02, validation_every=20, weight_decay=0
)
PULL = np.array([[1.0, 0.3], [-0.2, 0.5]])
NOISE = np.array([[0.4, 0.0], [0.1, 0.3]])


def transitions(noise: np.ndarray, pull: np.ndarray = PULL, n: int = 20_000) -> TransitionData:
    rng = np.random.default_rng(3)
    z = rng.normal(size=(n, len(pull)))
    dt = 0.1
    kick = math.sqrt(dt) * rng.normal(size=(n, noise.shape[1])) @ noise.T
    return TransitionData(
        z=torch.from_numpy(z).float(),
        increment=torch.from_numpy(-z @ pull.T * dt + kick).float(),
        elapsed=torch.full((n,), dt),
        conditions=torch.zeros(n, 0),
        group=torch.arange(n) % 100,
    )


def test_a_model_of_ones_own_learns_by_the_same_loop(tmp_path) -> None:
    data = transitions(NOISE)
    model, history = train_ensemble(
        *data.split(0.15, seed=0), SETTINGS, kind="ou", options={"start": 0.5}
    )
    z = torch.eye(2)
    with torch.no_grad():
        slope = model.drift(z) - model.drift(torch.zeros(2, 2))
        covariance = model.covariance(z)
    # Standard error of a slope: noise / (n dt)^(1/2) of a variable of unit variance.
    error = 0.4 / math.sqrt(0.85 * len(data) * 0.1)
    for found in slope:
        np.testing.assert_allclose(found.numpy(), -PULL.T, atol=4 * error)
    exact = NOISE @ NOISE.T
    np.testing.assert_allclose(covariance[:, 0].numpy(), np.stack([exact, exact]), atol=0.01)
    assert set(model.parameters_by_name()) == {"pull", "log_size"}
    assert len(history.best_loss) == 2
    model.save(tmp_path / "ou.safetensors")
    loaded = Ensemble.load(tmp_path / "ou.safetensors")
    assert (loaded.kind, loaded.options) == ("ou", {"start": 0.5})
    assert torch.equal(loaded.drift(z), model.drift(z))


def test_a_model_without_noise_is_fitted_by_least_squares() -> None:
    data = transitions(1e-3 * NOISE)
    model, _ = train_ensemble(*data.split(0.15, seed=0), SETTINGS, kind="oscillator")
    with torch.no_grad():
        slope = model.drift(torch.eye(2))
    np.testing.assert_allclose(slope.numpy(), np.stack([-PULL.T] * 2), atol=0.01)
    assert not model.noisy and model(torch.zeros(3, 2))[1] is None
    with pytest.raises(ValueError, match="oscillator has no noise"):
        model.cholesky(torch.zeros(3, 2))


def test_without_noise_trajectories_are_of_fourth_order() -> None:
    model = Ensemble("oscillator", variables=2, members=1)
    with torch.no_grad():
        rotation = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
        model.parameters_by_name()["matrix"].copy_(rotation)
    model.double()
    errors = []
    exact = torch.tensor([math.cos(2.0), -math.sin(2.0)])
    for step in (1.0, 0.5, 0.25):
        path = integrate(model, torch.tensor([[1.0, 0.0]]), [0.0, 2.0], step=step)
        errors.append(float((path[0, 0, -1] - exact).norm()))
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert all(3.6 < order < 4.6 for order in orders), orders


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(ValueError, match="no latent model 'unheard'; known: neural-sde"):
        Ensemble("unheard", variables=1)
    with pytest.raises(ValueError, match="no latent model 'math:sqrt'"):
        Ensemble("math:sqrt", variables=1)


# Three shares that add up to 1.
SUM = LinearConstraint.of([[1.0, 1.0, 1.0]], [1.0])


def test_a_constraint_holds_its_relations_whatever_is_free() -> None:
    y = torch.randn(50, 2, dtype=torch.float64)
    z = SUM.restore(y)
    assert float((z.sum(1) - 1).abs().max()) < 1e-14
    torch.testing.assert_close(SUM.reduce(z), y)
    torch.testing.assert_close(SUM.basis.T @ SUM.basis, torch.eye(2, dtype=torch.float64))
    assert LinearConstraint.from_dict(SUM.as_dict()).free == 2


@pytest.mark.parametrize(
    ("matrix", "values", "message"),
    [
        ([[1.0, 1.0], [1.0, 1.0]], [0.0, 1.0], "contradict"),
        ([[1.0, 0.0], [0.0, 1.0]], [0.0, 1.0], "none of them free"),
        ([[1.0, 0.0]], [0.0, 1.0], "1 relations have 2 values"),
    ],
)
def test_relations_that_cannot_be_are_refused(matrix, values, message) -> None:
    with pytest.raises(ValueError, match=message):
        LinearConstraint.of(matrix, values)


@pytest.mark.parametrize("patches", [False, True], ids=["mean", "scatter"])
def test_predictions_keep_a_sum_rule(tmp_path, patches: bool) -> None:
    basis = SUM.basis.numpy()
    free = transitions(NOISE)
    z = SUM.restore(free.z.double())
    data = TransitionData(
        z=z.float(),
        increment=(free.increment.double() @ SUM.basis.T).float(),
        elapsed=free.elapsed,
        conditions=free.conditions,
        group=free.group,
    )
    if patches:
        lower = torch.linalg.cholesky(torch.tensor(3 * NOISE @ NOISE.T))
        moved = torch.linalg.qr((SUM.basis @ lower).mT, mode="r")[1].mT
        scatter = torch.zeros(3, 3, dtype=torch.float64)
        scatter[:, :2] = moved
        data = replace(data, scatter=scatter.float().expand(len(z), -1, -1), patches=4)
    settings = SETTINGS.model_copy(update={"hidden": (8,), "steps": 300})
    model, _ = train_ensemble(*data.split(0.15, seed=0), settings, constraint=SUM)
    point = z[:5].float()
    with torch.no_grad():
        drift, factor = model(point)
        covariance = model.covariance(point)
    assert factor.shape == (2, 5, 3, 2)
    assert float(drift.sum(-1).abs().max()) < 1e-5
    exact = basis @ NOISE @ NOISE.T @ basis.T
    np.testing.assert_allclose(covariance.mean((0, 1)).numpy(), exact, atol=0.02)
    path = integrate(model, point, np.linspace(0, 20, 5), step=0.1)
    assert float((path.sum(-1) - 1).abs().max()) < 1e-5 * float(path.abs().max())
    model.save(tmp_path / "model.safetensors")
    loaded = Ensemble.load(tmp_path / "model.safetensors")
    assert torch.equal(loaded.drift(point), model.drift(point))


def test_a_relation_holds_at_bounds_too() -> None:
    """Shares from 0 to 1 that strong noise drives into every wall and corner."""
    model = Ensemble(
        variables=3, members=2, options={"hidden": (4,)}, constraint=SUM, seed=1
    ).requires_grad_(False)
    start = torch.full((400, 3), 1 / 3)
    path = integrate(model, start, np.arange(0, 40), step=0.1, bounds=[(0.0, 1.0)] * 3, seed=2)
    assert float((path.sum(-1) - 1).abs().max()) < 1e-6
    assert float(path.min()) > -1e-6 and float(path.max()) < 1 + 1e-6
    # They reach the walls, and fill the triangle between them rather than stay there.
    late = path[:, :, 10:]
    assert bool((late.amin((0, 1, 2)) < 0.02).all() and (late.amax((0, 1, 2)) > 0.9).all())
    assert float((late < 1e-6).any(-1).float().mean()) < 0.2


def test_a_wall_mirrors_within_the_plane_of_a_relation() -> None:
    """Beyond z_0 = 0 by 0.1: z_0 comes back by as much, and the others take equal shares of it."""
    walls = Walls.of([(0.0, math.inf)] * 3, 3, SUM)
    assert walls is not None
    before = torch.tensor([[0.1, 0.4, 0.5]])
    found = walls.reflect(before, torch.tensor([[-0.1, 0.5, 0.6]]))
    torch.testing.assert_close(found, torch.tensor([[0.1, 0.4, 0.5]]))
    # Into a corner: mirrored at the first wall it would be beyond the second, and stops there.
    found = walls.reflect(torch.tensor([[0.5, 0.1, 0.4]]), torch.tensor([[-0.6, 0.1, 1.5]]))
    assert float(found.sum()) == pytest.approx(1) and float(found.min()) > -1e-6


def test_a_scatter_with_a_variable_that_did_not_move_is_kept() -> None:
    """Its factor's diagonal is 0, and what stands below it is not."""
    factor = torch.tensor([[[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [1.0, 3.0, 0.5]]])
    data = replace(transitions(np.eye(3), np.eye(3), n=1), scatter=factor, patches=3)
    constraint = LinearConstraint(torch.eye(3, dtype=torch.float64), torch.zeros(3))
    found = data.within_constraint(constraint).scatter
    assert found is not None
    torch.testing.assert_close(found @ found.mT, factor @ factor.mT)
    assert bool((found.diagonal(dim1=1, dim2=2) >= 0).all())


def test_data_that_miss_a_relation_are_refused() -> None:
    free = transitions(NOISE, n=50)
    kept = replace(
        free,
        z=SUM.restore(free.z),
        increment=(free.increment.double() @ SUM.basis.T).float(),
    )
    assert kept.within_constraint(SUM).variables == 2
    with pytest.raises(ValueError, match=r"states miss the linear relations .* relations\(\)"):
        replace(kept, z=kept.z + 0.01).within_constraint(SUM)
    with pytest.raises(ValueError, match="increments miss the linear relations"):
        replace(kept, increment=kept.increment + 0.01).within_constraint(SUM)


class Features(LatentModel):
    """A drift that is linear in fixed random features."""

    noisy = False

    def __init__(self, variables: int, conditions: int) -> None:
        super().__init__(variables, conditions)
        self.register_buffer("frequencies", torch.randn(variables + conditions, 6))
        self.out = nn.Linear(6, variables)

    def forward(self, inputs: Tensor) -> tuple[Tensor, None]:
        return self.out(torch.sin(inputs @ self.frequencies)), None


def test_fixed_tensors_of_a_model_are_saved_with_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(LATENT_MODELS, "features", Features)
    model = Ensemble("features", variables=2, members=3, seed=5)
    model.save(tmp_path / "model.safetensors")
    loaded = Ensemble.load(tmp_path / "model.safetensors")
    z = torch.randn(4, 2)
    assert torch.equal(loaded.drift(z), model.drift(z))
    assert not torch.equal(model.constants.frequencies[0], model.constants.frequencies[1])


@pytest.mark.parametrize("covariance", ["full", "diagonal", "constant"])
def test_an_ensemble_may_be_evaluated_in_double_precision(covariance: str) -> None:
    model = Ensemble(variables=2, options={"hidden": (4,), "covariance": covariance})
    z = torch.randn(5, 2)
    single = model(z)
    for found, expected in zip(model.double()(z.double()), single, strict=True):
        assert found.dtype == torch.float64
        torch.testing.assert_close(found.float(), expected)


def test_a_file_does_not_make_code_run(tmp_path, monkeypatch) -> None:
    """A model of a module of one's own is opened once that is imported, by its user."""
    (tmp_path / "own_latent.py").write_text(
        "from macrodyn.dynamics.latent import NeuralSDE as Own\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "model.safetensors"
    Ensemble("own_latent:Own", variables=1).save(path)
    monkeypatch.delitem(sys.modules, "own_latent")
    with pytest.raises(ValueError, match="import own_latent first, if you trust it"):
        Ensemble.load(path)
    assert "own_latent" not in sys.modules
    importlib.import_module("own_latent")
    assert Ensemble.load(path).kind == "own_latent:Own"
