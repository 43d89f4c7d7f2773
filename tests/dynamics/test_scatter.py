"""The joint likelihood of the m patches of a snapshot: the mean and the scatter around it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from macrodyn.dynamics import (
    CovarianceFactor,
    DynamicsSettings,
    Ensemble,
    LatentArrays,
    TransitionData,
    estimate_covariance_factor,
    fit_scalers,
    partial_log_likelihood,
    scatter_factor,
    scatter_log_likelihood,
    train_ensemble,
    within_factor,
)
from macrodyn.dynamics.partial_likelihood import CLIP, PartialLikelihood
from macrodyn.methods.partial_evolution.learn import dynamics as dynamics_stage
from macrodyn.pipeline.job import Job
from macrodyn.storage.checkpoints import Checkpoints, Interrupted, fingerprint
from macrodyn.storage.netcdf import write_dataset
from macrodyn.storage.sealed import read_sealed_json

from .conftest import PATCHES, OrnsteinUhlenbeck, changed

LITTLE = DynamicsSettings(hidden=(8,), members=2, steps=60, batch=64, validation_every=10)


def _random(d: int, m: int, batch: int = 20) -> dict[str, torch.Tensor]:
    """Increments of m patches, and drift, Cholesky factor and time that need not fit them."""
    generator = torch.Generator().manual_seed(100 * d + m)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    cholesky = normal(batch, d, d).tril(-1) + torch.diag_embed(torch.exp(normal(batch, d)))
    return {
        "increments": normal(batch, m, d),
        "drift": normal(batch, d),
        "cholesky": cholesky,
        "elapsed": torch.rand(batch, generator=generator, dtype=torch.float64) + 0.1,
    }


def _joint(case: dict[str, torch.Tensor], factor: float, within: float) -> torch.Tensor:
    """Log density of the mean and of the scatter, as the training sees them."""
    increments, elapsed = case["increments"], case["elapsed"]
    scatter = torch.from_numpy(scatter_factor(increments.numpy(), elapsed.numpy()))
    mean = partial_log_likelihood(
        increments.mean(1), case["drift"], case["cholesky"], elapsed, factor=factor
    )
    patches = increments.shape[1]
    return mean + scatter_log_likelihood(
        scatter, case["cholesky"], elapsed, patches=patches, within=within
    )


@pytest.mark.parametrize("m", [1, 2, 3, 64])
@pytest.mark.parametrize("d", [1, 2, 4])
def test_the_density_is_the_sum_over_the_patches(d: int, m: int) -> None:
    case, total = _random(d, m), 100.0
    sigma = case["cholesky"] @ case["cholesky"].mT * case["elapsed"][:, None, None]
    one = torch.distributions.MultivariateNormal(
        (case["drift"] * case["elapsed"][:, None])[:, None], total * sigma[:, None]
    )
    exact = one.log_prob(case["increments"]).sum(1)
    torch.testing.assert_close(_joint(case, total / m, total), exact, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("c", [-0.2, 0.0, 3.0])
@pytest.mark.parametrize(("d", "m"), [(1, 2), (2, 3), (3, 5)])
def test_with_two_factors_it_is_the_density_of_correlated_patches(d: int, m: int, c: float) -> None:
    """Variance s2 Sigma of each patch, covariance c Sigma of two: one Gaussian of all m d."""
    case, s2 = _random(d, m), 7.0
    sigma = case["cholesky"] @ case["cholesky"].mT * case["elapsed"][:, None, None]
    of_patches = (s2 - c) * torch.eye(m, dtype=torch.float64) + c
    covariance = torch.stack([torch.kron(of_patches, block) for block in sigma])
    mean = (case["drift"] * case["elapsed"][:, None])[:, None].expand(-1, m, -1).flatten(1)
    exact = torch.distributions.MultivariateNormal(mean, covariance).log_prob(
        case["increments"].flatten(1)
    )
    found = _joint(case, s2 / m + (1 - 1 / m) * c, s2 - c)
    torch.testing.assert_close(found, exact, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("m", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("d", [1, 3])
def test_the_factor_is_that_of_the_scatter(d: int, m: int) -> None:
    case = _random(d, m)
    increments, elapsed = case["increments"].numpy(), case["elapsed"].numpy()
    factor = scatter_factor(increments, elapsed)
    exact = np.stack(
        [
            (m - 1) * np.cov(x.T, ddof=1).reshape(d, d) if m > 1 else np.zeros((d, d))
            for x in increments
        ]
    )
    found = factor @ factor.transpose(0, 2, 1) * elapsed[:, None, None]
    np.testing.assert_allclose(found, exact, atol=1e-12)
    assert np.array_equal(factor, np.tril(factor))
    assert (np.diagonal(factor, axis1=1, axis2=2) >= 0).all()
    assert (np.linalg.matrix_rank(factor, tol=1e-10) == min(m - 1, d)).all()


def test_patches_that_moved_alike_have_a_density() -> None:
    """S = 0: only the determinant is left."""
    case = _random(2, 5)
    case["increments"] = case["increments"][:, :1].expand(-1, 5, -1).clone()
    sigma = 3.0 * case["elapsed"][:, None, None] * case["cholesky"] @ case["cholesky"].mT
    exact = -2.0 * torch.logdet(2 * torch.pi * sigma) - np.log(5.0)
    found = scatter_log_likelihood(
        torch.zeros(20, 2, 2, dtype=torch.float64),
        case["cholesky"],
        case["elapsed"],
        patches=5,
        within=3.0,
    )
    torch.testing.assert_close(found, exact)
    assert (scatter_factor(case["increments"].numpy(), case["elapsed"].numpy()) < 1e-12).all()


def _transitions(m: int, *, d: int = 3, n: int = 300) -> TransitionData:
    """Transitions of m patches whose noise is correlated and whose time varies."""
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(n, d, generator=generator)
    elapsed = torch.rand(n, generator=generator) + 0.5
    mix = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.3, 0.0], [-0.2, 0.1, 2.0]])
    increments = torch.randn(n, m, d, generator=generator) @ mix.T - 0.3 * z[:, None]
    scatter = scatter_factor(increments.double().numpy(), elapsed.double().numpy())
    return TransitionData(
        z=z,
        increment=increments.mean(1),
        elapsed=elapsed,
        conditions=torch.randn(n, 1, generator=generator),
        group=torch.arange(n) % 20,
        factor=32.0 / m,
        scatter=torch.from_numpy(scatter).float() if m > 1 else None,
        patches=m,
        within=29.0,
    )


def _reference_nll(model: Ensemble, data: TransitionData, rows: torch.Tensor) -> torch.Tensor:
    """Mean NLL of each member by the densities, with a graph."""
    at = data.z[rows], data.conditions[rows]
    drift, cholesky = model.drift(*at), model.cholesky(*at)
    elapsed = data.elapsed[rows]
    density = partial_log_likelihood(
        data.increment[rows], drift, cholesky, elapsed, factor=data.factor
    )
    if data.scatter is not None:
        density = density + scatter_log_likelihood(
            data.scatter[rows], cholesky, elapsed, patches=data.patches, within=data.within
        )
    return -density.mean(-1)


@pytest.mark.parametrize("form", ["full", "diagonal", "constant"])
@pytest.mark.parametrize("m", [2, 3, 64], ids=lambda m: f"{m}-patches")
@pytest.mark.parametrize("batch", [40, None], ids=["minibatch", "all"])
def test_the_loss_is_the_likelihood(form: str, m: int, batch: int | None) -> None:
    """With 2 and 3 patches the scatter of 3 variables is singular."""
    data = _transitions(m)
    n, members = len(data), 2
    settings = DynamicsSettings(members=members, hidden=(7, 5), covariance=form)  # type: ignore[arg-type]
    model = _untrained(data, settings)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        model.parameters_by_name()["noise_bias"].normal_(generator=generator)
    index = None if batch is None else torch.randint(n, (members, batch), generator=generator)
    rows = torch.arange(n).expand(members, n) if index is None else index
    nll = _reference_nll(model, data, rows)
    nll.sum().backward()
    problem = PartialLikelihood(model, data, data, settings)
    parameters = {name: p.clone().requires_grad_() for name, p in problem.parameters.items()}
    loss = problem.loss(parameters, index)
    loss.sum().backward()
    torch.testing.assert_close(loss, nll, rtol=1e-5, atol=1e-4)
    for name, parameter in model.parameters_by_name().items():
        # The noise's gradients are of order m.
        torch.testing.assert_close(
            parameters[name].grad, parameter.grad, rtol=1e-4, atol=1e-5 * m, msg=name
        )
    if index is None:
        validated = problem.validate(parameters).float()
        torch.testing.assert_close(validated, nll, rtol=1e-5, atol=1e-4)


def _untrained(data: TransitionData, settings: DynamicsSettings) -> Ensemble:
    scalers, linear = fit_scalers(data)
    return Ensemble(
        variables=data.variables,
        conditions=data.conditions.shape[1],
        members=settings.members,
        options=settings.model_dump(include={"hidden", "activation", "covariance"}),
        scalers=scalers,
        linear_drift=linear,
        seed=1,
    )


def test_the_best_validated_nll_is_the_joint_one() -> None:
    train, validation = _transitions(4).split(0.3, seed=0)
    settings = LITTLE.model_copy(update={"output_ridge": None})
    model, history = train_ensemble(train, validation, settings)
    with torch.no_grad():
        again = _reference_nll(model, validation, torch.arange(len(validation)).expand(2, -1))
    np.testing.assert_allclose(again.numpy(), history.best_loss, rtol=1e-5)


def test_scalers_start_from_the_pooled_covariance() -> None:
    """Many patches of few snapshots: the scatter says more of it than the means."""
    mix = np.array([[1.0, 0.0, 0.0], [0.5, 0.3, 0.0], [-0.2, 0.1, 2.0]])
    data = replace(_transitions(64), factor=0.5 / 64, within=0.5, elapsed=torch.ones(300))
    scatter = np.random.default_rng(0).normal(size=(300, 64, 3)) @ mix.T
    data = replace(data, scatter=torch.from_numpy(scatter_factor(scatter, np.ones(300))).float())
    exact = 2.0 * mix @ mix.T

    def error(data: TransitionData) -> float:
        scale = fit_scalers(data)[0].diffusion_scale.numpy()
        return float(np.abs(scale @ scale.T - exact).max())

    # Standard error of a variance v from 300 * 63 values: v (2 / 18900)^(1/2); largest v is 8.1.
    assert error(data) < 5 * 8.1 * np.sqrt(2 / (300 * 63))
    assert error(replace(data, scatter=None, patches=1)) > 2 * error(data)


def test_one_patch_is_the_mean(ornstein_uhlenbeck: OrnsteinUhlenbeck) -> None:
    latents = ornstein_uhlenbeck(samples=500, evolved=1)
    _assert_alike(
        *(
            TransitionData.from_latents(latents, likelihood=likelihood)
            for likelihood in ("mean", "patches")
        )
    )


def test_patches_of_different_times_are_transitions_already(
    ornstein_uhlenbeck: OrnsteinUhlenbeck,
) -> None:
    times = np.random.default_rng(0).uniform(0.01, 0.03, (200, 4))
    latents = ornstein_uhlenbeck(samples=200, evolved=4, elapsed=times)
    _assert_alike(
        *(
            TransitionData.from_latents(latents, likelihood=likelihood)
            for likelihood in ("mean", "patches")
        )
    )


def _assert_alike(first: TransitionData, second: TransitionData) -> None:
    assert first.scatter is second.scatter is None
    assert first.patches == second.patches == 1
    models = [train_ensemble(*data.split(0.2, seed=0), LITTLE)[0] for data in (first, second)]
    assert _weights(models[0]) == _weights(models[1])


def _weights(model: Ensemble) -> bytes:
    return b"".join(value.numpy().tobytes() for value in model.state_dict().values())


def test_latents_give_the_scatter_of_their_patches(ornstein_uhlenbeck: OrnsteinUhlenbeck) -> None:
    times = np.random.default_rng(0).uniform(0.01, 0.03, 50)
    latents = ornstein_uhlenbeck(samples=50, evolved=4, elapsed=times)
    data = TransitionData.from_latents(latents, likelihood="patches", dtype=torch.float64)
    assert (data.patches, data.within, data.factor) == (4, PATCHES, PATCHES / 4)
    values = latents["increment"].isel(lag=0).values[..., 0]
    assert data.scatter is not None
    np.testing.assert_allclose(
        data.scatter[:, 0, 0] ** 2, 4 * values.var(axis=1) / times, rtol=1e-10
    )
    part = data.select(torch.tensor([7, 3])).to("cpu")
    assert part.scatter is not None
    assert torch.equal(part.scatter, data.scatter[[7, 3]])
    assert (part.patches, part.within) == (4, PATCHES)
    other = TransitionData.from_latents(latents, likelihood="patches", within=11.0)
    assert (other.within, other.factor) == (11.0, PATCHES / 4)
    with pytest.raises(ValueError, match="likelihood is 'all'"):
        TransitionData.from_latents(latents, likelihood="all")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"scatter": torch.zeros(300, 3)}, "scatter has shape", id="shape"),
        pytest.param({"scatter": torch.full((300, 3, 3), np.nan)}, "not finite", id="nan"),
        pytest.param({"scatter": torch.ones(300, 3, 3)}, "lower triangular", id="triangle"),
        pytest.param({"scatter": None}, "patches is 4 with no scatter", id="no-scatter"),
        pytest.param({"patches": 1}, "patches is 1 with a scatter", id="one-patch"),
        pytest.param({"within": 0.0}, "factor within snapshots", id="factor"),
    ],
)
def test_a_useless_scatter_is_named(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(_transitions(4), **change)


def test_a_scatter_of_no_patch_is_refused() -> None:
    with pytest.raises(ValueError, match="patches is 0"):
        scatter_log_likelihood(torch.zeros(1, 1, 1), torch.ones(1, 1, 1), torch.ones(1), patches=0)


@pytest.mark.parametrize("correlation", [0.0, 0.2])
@pytest.mark.parametrize("evolved", [4, 8])
def test_the_estimated_factor_is_the_exact_ratio(
    ornstein_uhlenbeck: OrnsteinUhlenbeck, evolved: int, correlation: float
) -> None:
    """Of patches correlated by r: (1 - r) / ((1 + (K - 1) r) / K)."""
    arrays = LatentArrays.from_dataset(ornstein_uhlenbeck(evolved=evolved, correlation=correlation))
    estimate = estimate_covariance_factor(arrays)
    exact = PATCHES * (1 - correlation) / (1 + (PATCHES - 1) * correlation)
    found = within_factor("estimated", estimate, arrays)
    # Five standard errors. That of the variance of the whole dominates; it comes from that of the
    # mean of m, whose relative error is (2/N)^(1/2), and both factors have it in common.
    of_mean = (1 + (evolved - 1) * correlation) / evolved
    of_whole = (1 + (PATCHES - 1) * correlation) / PATCHES
    error = np.sqrt(2 / len(arrays.z)) * of_mean / of_whole * evolved / (evolved - 1)
    assert abs(found / exact - 1) < 5 * error
    ratio = (1 - correlation) / of_mean
    assert found / estimate.estimated == pytest.approx(ratio, rel=0.07)


def test_the_choice_for_the_mean_decides_for_the_scatter(
    ornstein_uhlenbeck: OrnsteinUhlenbeck,
) -> None:
    arrays = LatentArrays.from_dataset(ornstein_uhlenbeck(samples=500, evolved=4))
    estimate = estimate_covariance_factor(arrays)
    assert within_factor("theory", estimate, arrays) == PATCHES
    assert within_factor(3.5, estimate, arrays) == 4 * 3.5
    with pytest.raises(ValueError, match="covariance_factor is"):
        within_factor(-1.0, estimate, arrays)
    alike = replace(estimate, correlation=np.ones(1))
    with pytest.raises(ValueError, match="do not scatter"):
        within_factor("estimated", alike, arrays)


def test_estimates_of_closure_variables_do_not_count() -> None:
    nothing = np.ones((1, 2))
    estimate = CovarianceFactor(
        theory=4.0,
        estimated=5.0,
        standard_error=0.1,
        per_component=np.array([5.0, 900.0]),
        per_component_error=np.ones(2),
        correlation=np.array([0.0, 0.5]),
        curve_patches=np.array([1]),
        curve=nothing,
    )
    arrays = LatentArrays(
        z=np.zeros((3, 2)),
        increment=np.zeros((3, 4, 2)),
        elapsed=np.ones((3, 4)),
        controls=np.empty((3, 4, 0)),
        conditions=np.zeros((3, 0)),
        group=np.arange(3),
        patches_total=16,
        n_observables=1,
    )
    assert within_factor("estimated", estimate, arrays) == pytest.approx(4 * 5.0)


@pytest.mark.parametrize("stop_at", [(1,), (31, 22)], ids=str)
def test_an_interrupted_training_ends_in_the_same_bits(
    tmp_path: Path, stop_at: tuple[int, ...]
) -> None:
    split = _transitions(4).split(0.3, seed=0)
    whole, _ = train_ensemble(*split, LITTLE)
    for steps in stop_at:
        calls = itertools.count(1)
        checkpoints = Checkpoints(tmp_path, stop=lambda n=steps, c=calls: next(c) >= n)
        with pytest.raises(Interrupted):
            train_ensemble(*split, LITTLE, checkpoints=checkpoints)
    seen: list[int] = []
    resumed, _ = train_ensemble(
        *split,
        LITTLE,
        checkpoints=Checkpoints(tmp_path),
        progress=lambda step, steps, _: seen.append(step),
    )
    assert all(step > sum(stop_at) for step in seen)
    assert _weights(resumed) == _weights(whole)


def test_a_checkpoint_knows_the_scatter() -> None:
    data = replace(_transitions(4), elapsed=torch.ones(300))
    assert data.scatter is not None
    changes = [
        {},
        {"within": 30.0},
        {"patches": 5},
        {"scatter": 2 * data.scatter},
        {"scatter": None, "patches": 1},
    ]
    found = set()
    for change in changes:
        split = replace(data, **change).split(0.3, seed=0)
        problem = PartialLikelihood(_untrained(split[0], LITTLE), *split, LITTLE)
        facts, rows = problem.identity()
        found.add(fingerprint(facts, *rows))
    assert len(found) == len(changes)


def _state_dependent(m: int, seed: int) -> tuple[TransitionData, TransitionData]:
    """Known drift -z and Sigma(z), K = 64 independent patches: the mean alone, and all m."""
    total, n, dt = 64, 2000, 0.1
    rng = np.random.default_rng(seed)
    z = rng.uniform(-1, 1, (n, 1))
    noise = np.sqrt(total * _sigma(z, total) * dt)[:, None] * rng.normal(size=(n, m, 1))
    increments = -z[:, None] * dt + noise
    scatter = scatter_factor(increments, np.full(n, dt))
    mean = TransitionData(
        z=torch.from_numpy(z).float(),
        increment=torch.from_numpy(increments.mean(1)).float(),
        elapsed=torch.full((n,), dt),
        conditions=torch.zeros(n, 0),
        group=torch.arange(n) % 60,
        factor=total / m,
    )
    scattered = torch.from_numpy(scatter).float()
    return mean, replace(mean, scatter=scattered, patches=m, within=float(total))


def _sigma(z: np.ndarray, total: int) -> np.ndarray:
    return (0.5 + 0.4 * np.sin(2 * z)) / total


def test_sigma_is_recovered_better_than_from_the_mean() -> None:
    """Root mean square relative error of Sigma(z); 16 patches, over four data sets."""
    settings = changed(
        LITTLE, hidden=(32, 32), steps=600, batch=512, learning_rate=3e-3, validation_every=25
    )
    z = torch.linspace(-0.95, 0.95, 39)[:, None]
    exact = _sigma(z.numpy(), 64)[:, 0]
    errors: list[list[float]] = []
    for seed in range(4):
        models = [
            train_ensemble(*data.split(0.15, seed=0), settings)[0]
            for data in _state_dependent(16, seed)
        ]
        with torch.no_grad():
            found = [model.covariance(z)[..., 0, 0].double().numpy() for model in models]
        errors.append([float(np.sqrt(np.square(f / exact - 1).mean())) for f in found])
    of_mean, of_patches = np.mean(errors, axis=0)
    assert of_patches < 0.06
    assert of_patches < 0.6 * of_mean


def test_the_clip_of_the_noise_grows_with_the_patches() -> None:
    data = _transitions(8)
    problem = PartialLikelihood(_untrained(data, LITTLE), data, data, LITTLE)
    clips = {problem.clip(name) for name in problem.parameters}
    assert clips == {("drift", CLIP), ("noise", 8 * CLIP)}


LATENTS_CONFIG = {"hidden": [8], "steps": 20, "batch": 64, "validation_every": 10, "members": 2}


def _run_stage(folder: Path, latents: Path, **dynamics: object) -> tuple[dict, bytes]:
    """Run the stage; its report and the learned parameters."""
    job = Job(
        config={"seed": 5, "dynamics": {**LATENTS_CONFIG, **dynamics}},
        stage="dynamics",
        inputs={"latents": {"data": latents}},
        outputs={"model": folder / "model.safetensors", "training": folder / "training.json"},
    )
    dynamics_stage(job)
    return read_sealed_json(job.outputs["training"]), _weights(Ensemble.load(job.outputs["model"]))


@pytest.mark.parametrize("evolved", [1, 4])
def test_the_stage_learns_from_what_is_chosen(
    ornstein_uhlenbeck: OrnsteinUhlenbeck, tmp_path: Path, evolved: int
) -> None:
    values = np.random.default_rng(0).normal(size=(500, 1))
    latents = ornstein_uhlenbeck(samples=500, evolved=evolved, conditions=values)
    path = tmp_path / "latents.nc"
    write_dataset(latents.assign_coords(condition=["field"]), path, {})
    plain, by_default = _run_stage(tmp_path / "default", path)
    chosen, by_mean = _run_stage(tmp_path / "mean", path, likelihood="mean")
    report, by_patches = _run_stage(tmp_path / "patches", path, likelihood="patches")
    assert by_default == by_mean
    assert set(plain) == set(chosen) == {"history", "factor", "factor_used", "members", "cost"}
    assert (by_patches == by_mean) == (evolved == 1)
    assert report["factor_used"] == PATCHES / evolved
    assert report.get("within_used") == (None if evolved == 1 else PATCHES)
    if evolved > 1:
        given, _ = _run_stage(tmp_path / "given", path, likelihood="patches", covariance_factor=5.0)
        assert (given["factor_used"], given["within_used"]) == (5.0, 20.0)


def test_the_mean_is_the_default() -> None:
    assert DynamicsSettings().likelihood == "mean"
    with pytest.raises(ValueError, match="likelihood"):
        DynamicsSettings(likelihood="joint")  # type: ignore[arg-type]
