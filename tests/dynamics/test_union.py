"""Transitions of several sizes as one data set: each weighs by its own noise."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from macrodyn.dynamics import DynamicsSettings, Ensemble, TransitionData, train_ensemble
from macrodyn.dynamics.likelihood import partial_log_likelihood, scatter_log_likelihood
from macrodyn.dynamics.members import drift_distances
from macrodyn.dynamics.output_layer import solve_output_layer
from macrodyn.dynamics.polynomial_drift import DriftRegression
from macrodyn.dynamics.polynomial_fit import fit_polynomials
from macrodyn.dynamics.scaling import drift_metric, fit_scalers
from macrodyn.dynamics.scatter import scatter_factor
from macrodyn.dynamics.train import PartialLikelihood
from macrodyn.dynamics.union import join

# Sigma is that of N sites; dz = (A - B z) dt + sqrt(D / n) dB at every number of sites n.
N, PATCH_SITES, DT = 4096, 64, 0.1
A, B, D = 0.1, 0.5, 2.0
SIGMA = D / N


def of_size(
    sites: int,
    samples: int,
    seed: int,
    *,
    patches: int = 4,
    likelihood: str = "mean",
    variables: int = 1,
    groups: int = 40,
) -> TransitionData:
    """Transitions of a system of so many sites, `patches` of its K patches evolved."""
    rng = np.random.default_rng(seed)
    total = sites // PATCH_SITES
    z = rng.uniform(-1, 1, (samples, variables))
    noise = rng.normal(size=(samples, patches, variables)) * np.sqrt(total * D / sites * DT)
    each = (A - B * z)[:, None] * DT + noise
    elapsed = np.full(samples, DT)
    with_scatter = likelihood == "patches" and patches > 1
    return TransitionData(
        z=torch.as_tensor(z),
        increment=torch.as_tensor(each.mean(axis=1)),
        elapsed=torch.as_tensor(elapsed),
        conditions=torch.empty(samples, 0, dtype=torch.float64),
        group=torch.arange(samples) % groups,
        factor=total / patches * N / sites,
        scatter=torch.as_tensor(scatter_factor(each, elapsed)) if with_scatter else None,
        patches=patches if with_scatter else 1,
        within=total * N / sites if with_scatter else 1.0,
    )


def two_sizes(seed: int = 0, **options) -> list[TransitionData]:
    """Many noisy transitions of a small size, and a third as many of the large one."""
    return [
        of_size(256, 6000, 2 * seed, **{"patches": 1, **options}),
        of_size(N, 2000, 2 * seed + 1, **{"patches": 64, **options}),
    ]


def ignoring(data: TransitionData) -> TransitionData:
    """The same with the factor of the large size for all."""
    return replace(data, factor=1.0)


def slope_error(data: TransitionData) -> float:
    """Standard error of B by weighted least squares."""
    weight = data.exposure.numpy()
    return float(np.sqrt(SIGMA / (weight * np.square(data.z[:, 0].numpy())).sum()))


def test_what_differs_is_of_each_transition_and_what_does_not_is_one_number():
    parts = two_sizes()
    data = join(parts)
    assert len(data) == 8000 and data.shared_factor == 1.0
    assert data.factor[:6000].unique().tolist() == [4 * 16.0]
    assert data.factor[6000:].unique().tolist() == [1.0]
    assert (data.patches, data.within, data.scatter, data.compensated) == (1, 1.0, None, None)
    np.testing.assert_allclose(data.exposure, DT / data.factor)
    picked = data.select(torch.tensor([7000, 3])).to("cpu")
    assert picked.factor.tolist() == [1.0, 64.0]
    assert join(parts[:1]) is parts[0]
    alike = join([parts[0], parts[0]])
    assert alike.factor == 64.0 and alike.relative_noise is None and len(alike) == 12000


def test_what_was_divided_is_joined_again():
    data = join(two_sizes(likelihood="patches", patches=4))
    rows = torch.arange(len(data))
    both = join([data.select(rows[:5000]), data.select(rows[5000:])])
    for field in fields(data):
        one, other = getattr(both, field.name), getattr(data, field.name)
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_parts_without_a_scatter_or_compensation_stay_what_they_are():
    few, many = two_sizes(likelihood="patches")
    many = replace(many, compensated=many.increment + 1.0)
    data = join([few, many])
    assert data.patches.unique().tolist() == [1.0, 64.0]
    assert data.within.unique().tolist() == [1.0, 64.0]
    assert not data.scatter[:6000].any() and bool((data.scatter[6000:] == many.scatter).all())
    np.testing.assert_array_equal(data.drift_increment[:6000], few.increment)
    np.testing.assert_array_equal(data.drift_increment[6000:], many.increment + 1.0)
    # A part of it may hold nothing that scatters.
    assert data.select(torch.arange(10)).patches.tolist() == [1.0] * 10


def test_other_variables_cannot_be_joined():
    with pytest.raises(ValueError, match="same variables"):
        join([of_size(256, 10, 0), of_size(256, 10, 0, variables=2)])
    with pytest.raises(ValueError, match="same variables"):
        join([])


def test_factors_must_fit_the_transitions():
    data = of_size(256, 10, 0)
    with pytest.raises(ValueError, match="factor has shape"):
        replace(data, factor=torch.ones(9))
    with pytest.raises(ValueError, match="factor must be positive"):
        replace(data, factor=torch.zeros(10))


def test_relatives_of_all_sizes_are_held_out_together():
    data = join(two_sizes())
    training, validation = data.split(0.2, seed=3)
    held = set(validation.group.tolist())
    assert not held & set(training.group.tolist())
    assert len(held) == 8 and set(validation.factor.tolist()) == {64.0, 1.0}


@pytest.mark.parametrize("compensated", [False, True], ids=["plain", "compensated"])
@pytest.mark.parametrize("variables", [1, 2])
def test_likelihood_is_that_of_each_transition_s_own_factor(variables, compensated):
    parts = [
        of_size(256, 30, 0, patches=1, likelihood="patches", variables=variables),
        of_size(256, 30, 1, patches=3, likelihood="patches", variables=variables),
        of_size(N, 30, 2, patches=20, likelihood="patches", variables=variables),
    ]
    data = join(parts)
    assert data.patches.unique().tolist() == [1.0, 3.0, 20.0]
    scalers, linear = fit_scalers(data)
    model = Ensemble(
        variables=variables,
        members=2,
        options={"hidden": [4]},
        scalers=scalers,
        linear_drift=linear,
    )
    given = replace(data, compensated=data.increment) if compensated else data
    found = PartialLikelihood(model, given, given, DynamicsSettings(hidden=(4,)))
    parameters = model.parameters_by_name()
    with torch.no_grad():
        nll = found._nll(parameters, found.rows[None]) + found._offset
        drift, cholesky = model(data.z)
    each = partial_log_likelihood(
        data.increment.float(), drift, cholesky, data.elapsed.float(), factor=data.factor
    )
    for i in range(len(data)):
        each[:, i] += scatter_log_likelihood(
            data.scatter[i].float(),
            cholesky[:, i],
            data.elapsed[i].float(),
            patches=int(data.patches[i]),
            within=float(data.within[i]),
        )
    if not compensated:
        np.testing.assert_allclose(nll, -each, rtol=2e-4, atol=2e-4)
        return
    # The misfit of the drift comes on top, in units of its own noise, weighed in the same way.
    metric = drift_metric(data, model.diffusion_scale).float()
    reference = torch.linalg.inv(model.diffusion_scale)
    size = (data.factor * data.elapsed).sqrt()[:, None].float()
    left = (data.increment - drift * data.elapsed[:, None]).float() / size
    misfit = 0.5 * (left @ reference.T @ metric.T).square().sum(-1)
    np.testing.assert_allclose(nll, misfit - each, rtol=2e-4, atol=2e-4)


def test_scales_are_those_of_the_noise_of_the_whole():
    data = join(two_sizes(likelihood="patches", variables=2))
    scalers, _ = fit_scalers(data)
    sigma = (scalers.diffusion_scale @ scalers.diffusion_scale.T).numpy()
    # One vector of each mean, and m - 1 of each scatter.
    error = SIGMA * np.sqrt(2 / (6000 + 64 * 2000))
    np.testing.assert_allclose(sigma, SIGMA * np.eye(2), atol=4 * error)
    wrong = fit_scalers(ignoring(join(two_sizes(variables=2))))[0].diffusion_scale
    assert abs(float((wrong @ wrong.T)[0, 0]) / SIGMA - 1) > 0.2


def test_metric_of_compensated_increments_gives_unit_covariance():
    data = join(two_sizes(variables=2))
    # Half of the noise is gone.
    mean = (A - B * data.z) * DT
    data = replace(data, compensated=mean + 0.5 * (data.increment - mean))
    reference = fit_scalers(data)[0].diffusion_scale
    metric = drift_metric(data, reference)
    size = (data.factor * data.elapsed).sqrt()[:, None]
    left = (data.compensated - mean) / size @ torch.linalg.inv(reference).T @ metric.T
    for rows in (slice(0, 6000), slice(6000, None)):
        covariance = (left[rows].T @ left[rows] / len(left[rows])).numpy()
        np.testing.assert_allclose(covariance, np.eye(2), atol=4 * np.sqrt(2 / 2000))


def test_metric_reckons_with_a_misfit_where_there_is_no_noise():
    data = join(two_sizes(variables=2))
    mean = (A - B * data.z) * DT
    # Of the second variable everything is known.
    compensated = mean + 0.5 * (data.increment - mean)
    compensated[:, 1] = mean[:, 1]
    data = replace(data, compensated=compensated)
    reference = fit_scalers(data)[0].diffusion_scale
    metric = drift_metric(data, reference)
    size = (data.factor * data.elapsed).sqrt()[:, None]
    spread = (mean / data.elapsed[:, None]).std(dim=0)
    drawn = torch.randn(len(data), 2, generator=torch.Generator().manual_seed(3)).double()
    off = 0.05 * spread * drawn * data.elapsed[:, None]
    left = (compensated - mean + off) / size @ torch.linalg.inv(reference).T @ metric.T
    covariance = (left.T @ left / len(left)).numpy()
    np.testing.assert_allclose(covariance, np.eye(2), atol=4 * np.sqrt(2 / len(left)))


def regression(data: TransitionData, factor: np.ndarray | None) -> float:
    """The slope by the polynomials' regression."""
    z = data.z.numpy()
    found = DriftRegression(
        np.concatenate([np.ones_like(z), z], axis=1),
        data.increment.numpy(),
        data.elapsed.numpy(),
        data.group.numpy(),
        first=2,
        smooth=1,
        factor=factor,
    )
    return float(-found.solve(np.ones(40), 2, 1e-12)[1, 0])


def test_drift_of_the_union_is_as_precise_as_its_weights_allow():
    """Chi^2 of eight data sets, of the linear start of networks and of polynomials' regression."""
    squares = {"start": 0.0, "polynomial": 0.0, "start, ignoring": 0.0, "polynomial, ignoring": 0.0}
    for seed in range(8):
        data = join(two_sizes(seed))
        error = slope_error(data)
        for name, given in (("", data), (", ignoring", ignoring(data))):
            scalers, linear = fit_scalers(given)
            start = -float(linear[1, 0] * scalers.drift_scale[0] / scalers.z_scale[0])
            squares[f"start{name}"] += ((start - B) / error) ** 2
            slope = regression(given, given.relative_noise)
            squares[f"polynomial{name}"] += ((slope - B) / error) ** 2
    # Quantile 0.999 of chi^2 of 8; without its factors the noisy part drowns the precise one.
    assert squares["start"] < 26.1 and squares["polynomial"] < 26.1
    assert squares["start, ignoring"] > 40 and squares["polynomial, ignoring"] > 40


def test_output_layer_weighs_each_rate_by_its_own_noise():
    """A transition of factor f says what one of 1/f of its time and increment does."""
    data = join([replace(part, compensated=part.increment) for part in two_sizes(variables=2)])
    data = replace(data, **{name: getattr(data, name).float() for name in FLOATS})
    scalers, linear = fit_scalers(data)

    def solved(given: TransitionData) -> dict[str, torch.Tensor]:
        options = {"hidden": [6], "activation": "tanh"}
        model = Ensemble(
            variables=2, members=2, options=options, scalers=scalers, linear_drift=linear, seed=3
        ).requires_grad_(False)
        assert solve_output_layer(model, given, 1e-3)
        return {name: value.clone() for name, value in model.parameters_by_name().items()}

    share = 1 / data.factor[:, None]
    alike = replace(ignoring(data), elapsed=data.exposure, compensated=data.compensated * share)
    found, expected, wrong = solved(data), solved(alike), solved(ignoring(data))
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-6)
    assert any(not np.allclose(value, wrong[name], atol=1e-2) for name, value in found.items())


FLOATS = ("z", "increment", "compensated", "elapsed", "factor", "conditions")
SETTINGS = DynamicsSettings(
    members=2,
    hidden=(8,),
    activation="tanh",
    covariance="constant",
    steps=400,
    batch=1024,
    learning_rate=0.005,
    validation_every=50,
    patience=8,
    weight_decay=0,
)
FITS = {
    "networks": lambda train, held: train_ensemble(train, held, SETTINGS),
    "polynomials": lambda train, held: fit_polynomials(train, held, SETTINGS),
}


@pytest.mark.parametrize("likelihood", ["mean", "patches"])
@pytest.mark.parametrize("kind", FITS)
def test_drift_and_covariance_of_all_sizes_are_recovered_from_the_union(kind, likelihood):
    parts = two_sizes(likelihood=likelihood)
    data = join([replace(part, compensated=part.increment) for part in parts])
    data = replace(data, **{name: getattr(data, name).float() for name in FLOATS})
    train, held = data.split(0.15, seed=0)
    model = FITS[kind](train, held)[0]
    z = torch.linspace(-0.8, 0.8, 9)[:, None]
    with torch.no_grad():
        drift, covariance = model.drift(z)[..., 0].mean(0), model.covariance(z)[..., 0, 0]
    # A network or a polynomial has some parameters more than the line.
    exposure = float(train.exposure.sum())
    np.testing.assert_allclose(drift, A - B * z[:, 0], atol=6 * np.sqrt(SIGMA / exposure))
    vectors = float(len(train) if likelihood == "mean" else train.patches.sum())
    # Members of polynomials are resamples, which have about twice the variance.
    error = SIGMA * np.sqrt(2 / vectors) * (1 if kind == "networks" else np.sqrt(2))
    np.testing.assert_allclose(covariance.mean(0), np.full(9, SIGMA), atol=4 * error)


def test_a_model_that_ignores_the_sizes_has_another_covariance():
    train, held = ignoring(join(two_sizes())).split(0.15, seed=0)
    model, *_ = fit_polynomials(train, held, SETTINGS)
    with torch.no_grad():
        covariance = model.covariance(torch.zeros(1, 1)).mean()
    assert abs(float(covariance) / SIGMA - 1) > 20 * np.sqrt(2 / len(train))


def test_members_are_compared_by_the_error_of_a_weighted_mean():
    """Noisy transitions beside precise ones leave the standard error that these have."""
    precise = of_size(N, 2000, 1, patches=64)
    model = Ensemble(variables=1, members=3, scalers=fit_scalers(precise)[0], seed=1)
    alone, _ = drift_distances(model, precise)
    noisy = of_size(64, 2000, 1, patches=1)
    both, _ = drift_distances(model, join([precise, replace(noisy, z=precise.z)]))
    np.testing.assert_allclose(both.distance, alone.distance, rtol=0.15)
