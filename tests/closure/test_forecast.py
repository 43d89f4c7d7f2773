"""Closure variables by prediction: they find what tells the rates, and not what patches show."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from macrodyn.closure.forecast import left_by, train_forecast
from macrodyn.closure.model import load_autoencoder, save_autoencoder
from macrodyn.closure.settings import ClosureSettings
from macrodyn.closure.snapshots import encode_states
from macrodyn.closure.train import train_closure
from macrodyn.learning.holdout import hold_out

SETTINGS = ClosureSettings(
    objective="prediction",
    dimension=1,
    channels=(8,),
    hidden=16,
    steps=600,
    batch=128,
    learning_rate=2e-3,
    validation_every=50,
)


def rows_of_spins(number: int = 900, each: int = 4, side: int = 8, seed: int = 0):
    """Patches of independent rows, each striped or not, of all snapshots another share.

    Returns:
        Patches [snapshot, patch, 1, side, side], the mean spin and how often neighbours along a row
        are alike, less its mean: what a model in the mean spin alone leaves open.
    """
    rng = np.random.default_rng(seed)
    same = rng.uniform(0.2, 0.8, (number, 1, 1, 1))
    flips = np.where(rng.random((number, each, side, side - 1)) < same, 1, -1)
    first = rng.choice([-1, 1], (number, each, side, 1))
    spins = np.concatenate([first, first * np.cumprod(flips, axis=3)], axis=3)
    alike = (spins[..., 1:] == spins[..., :-1]).mean(axis=(1, 2, 3))
    return spins[:, :, None].astype(np.int8), spins.mean(axis=(1, 2, 3)), alike - alike.mean()


def correlation(a, b) -> float:
    return abs(float(np.corrcoef(a, b)[0, 1]))


@pytest.fixture(scope="module")
def forecast():
    patches, mean, alike = rows_of_spins()
    noise = np.random.default_rng(1).normal(size=(len(mean), 2))
    # Over two lags: the mean spin's own decay, what the pattern tells, and noise.
    rates = np.stack([-mean + 2.0 * alike, -0.8 * mean + 1.5 * alike], axis=1) + 0.2 * noise
    left = left_by(mean[:, None], rates)
    groups = np.arange(len(mean)) // 9
    return train_forecast(
        patches, mean[:, None], left, SETTINGS, kind="spin", groups=groups, seed=0
    ), (patches, alike, left, groups)


def test_the_variable_is_what_the_observables_leave_open(forecast):
    (model, history), (patches, alike, left, _) = forecast
    found = model.encode_snapshot(patches)[:, 0]
    assert correlation(found, alike) > 0.98
    # Of a loss of 1 the noise is left, and no more.
    noise = 0.2**2 / np.var(np.array([2.0, 1.5])[:, None] * alike + 0.0, axis=1).mean()
    assert history.best_loss[0] == pytest.approx(noise / (1 + noise), rel=0.35)
    assert np.square(left).mean() == pytest.approx(1.0)


def test_what_cannot_be_told_is_not():
    """Rates of pure noise: of snapshots that are held out nothing is gained."""
    patches, mean, _ = rows_of_spins(900)
    rates = left_by(mean[:, None], np.random.default_rng(5).normal(size=(900, 1)))
    groups = np.arange(900) // 9
    _, history = train_forecast(
        patches, mean[:, None], rates, SETTINGS, kind="spin", groups=groups, seed=0
    )
    _, held = hold_out(groups, SETTINGS.validation_fraction, seed=0)
    assert history.best_loss[0] > 0.93 * np.square(rates[held]).mean()


def test_a_small_part_that_is_new_is_found_beside_a_large_one_that_is_not():
    """Of patterns that the observables tell for the most part the rest alone is of use."""
    patches, mean, alike = rows_of_spins(1500)
    known = alike + 0.03 * np.random.default_rng(3).normal(size=len(alike))
    given = np.stack([mean, known], axis=1)
    # What is known of it leaves a few per cent, which the rates tell, with noise.
    rest = left_by(given, alike[:, None])
    rates = left_by(given, rest + np.random.default_rng(4).normal(size=rest.shape))
    groups = np.arange(len(mean)) // 9
    model, history = train_forecast(
        patches, given, rates, SETTINGS, kind="spin", groups=groups, seed=0
    )
    found = left_by(given, model.encode_snapshot(patches))
    assert correlation(found[:, 0], rest[:, 0]) > 0.85
    assert history.best_loss[0] < 0.65


def test_a_pooled_encoder_is_trained_on_whole_states():
    """Of local terms all count, also those where patches meet."""
    patches, mean, _ = rows_of_spins(400, each=1)
    alike = (patches == np.roll(patches, 1, axis=4)).mean(axis=(1, 2, 3, 4))
    rates = left_by(mean[:, None], alike[:, None])
    groups = np.arange(400) // 4
    model, _ = train_forecast(
        patches, mean[:, None], rates, SETTINGS, kind="spin", groups=groups, patch=(4, 4), seed=0
    )
    assert model.architecture.patch == (4, 4)
    states = patches[:, 0]
    found = encode_states(model, states, periodic=True)[:, 0]
    assert correlation(left_by(mean[:, None], found[:, None])[:, 0], rates[:, 0]) > 0.99
    # The mean of all local terms, which knows no origin.
    moved = np.roll(states, (1, 3), axis=(2, 3))
    np.testing.assert_allclose(encode_states(model, moved, periodic=True)[:, 0], found, atol=1e-5)


def test_variables_are_ordered_by_what_they_tell():
    """Two patterns, of which the rates tell one with far less noise."""
    patches, mean, alike = rows_of_spins(900)
    turned, _, other = rows_of_spins(900, seed=7)
    both = np.concatenate([patches, turned.swapaxes(3, 4)], axis=1)
    noise = np.random.default_rng(2).normal(size=(900, 2))
    rates = np.stack([alike / alike.std(), other / other.std()], axis=1) + noise * [0.2, 2.0]
    left = left_by(mean[:, None], rates)
    settings = SETTINGS.model_copy(update={"dimension": 2})
    model, _ = train_forecast(
        both, mean[:, None], left, settings, kind="spin", groups=np.arange(900) // 9, seed=0
    )
    found = left_by(mean[:, None], model.encode_snapshot(both))
    assert correlation(found[:, 0], alike) > 0.9 > 0.5 > correlation(found[:, 1], alike)


def test_a_fit_to_the_observables_is_taken_out():
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(2000, 1)), rng.normal(size=2000)
    rates = np.stack([x[:, 0] ** 3 - 2 * x[:, 0] + noise, 3.0 * x[:, 0]], axis=1)
    left = left_by(x, rates)
    assert correlation(left[:, 0], noise) > 0.99 and left[:, 0].std() == pytest.approx(1.0)
    np.testing.assert_array_equal(left[:, 1], 0.0)


def test_a_model_is_read_as_it_was_written(forecast, tmp_path):
    (model, _), (patches, *_) = forecast
    save_autoencoder(tmp_path / "model.safetensors", model, {})
    again, _ = load_autoencoder(tmp_path / "model.safetensors")
    assert again.architecture.decoder == "none" and len(again.decoder) == 0
    np.testing.assert_array_equal(again.encode_snapshot(patches), model.encode_snapshot(patches))
    found = model.encode_means(torch.as_tensor(patches[:5]))
    np.testing.assert_allclose(found, model.encode_snapshot(patches[:5]), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"given": np.zeros((4, 1))}, r"given must have shape \[6, k\]"),
        ({"rates": np.zeros(6)}, r"rates must have shape \[6, k\]"),
        (
            {"settings": SETTINGS.model_copy(update={"dimension": 0})},
            "closure.dimension is 0, and 1 rates",
        ),
        ({"settings": SETTINGS.model_copy(update={"dimension": 2})}, "is 2, and 1 rates tell 1"),
    ],
)
def test_what_does_not_fit_is_refused(changes, told):
    arguments = {
        "patches": np.ones((6, 2, 1, 4, 4), np.int8),
        "given": np.zeros((6, 1)),
        "rates": np.zeros((6, 1)),
        "settings": SETTINGS,
        **changes,
    }
    with pytest.raises(ValueError, match=told):
        train_forecast(**arguments, kind="spin", groups=np.arange(6))


def test_reconstruction_takes_another_variable():
    """What patches show most is a stripe across them, which tells nothing of the rates."""
    patches, _, _ = rows_of_spins(400)
    rng = np.random.default_rng(2)
    # Columns of one sign: seen at every site, and of no meaning for the rates.
    sign = rng.choice([-1, 1], (len(patches), 1, 1, 1, 1))
    patches = patches.copy()
    patches[..., :6, :] = sign
    rates = alike_of(patches)
    rates = (rates - rates.mean())[:, None]
    settings = SETTINGS.model_copy(update={"steps": 800})
    groups = np.arange(len(patches)) // 4
    observed = np.zeros((len(patches), 1))
    told, _ = train_forecast(
        patches, observed, rates / rates.std(), settings, kind="spin", groups=groups, seed=0
    )
    flat = patches.reshape(-1, *patches.shape[2:])
    rebuilt, _ = train_closure(
        flat,
        np.zeros((len(flat), 1)),
        settings.model_copy(update={"objective": "reconstruction", "batch": 256}),
        kind="spin",
        groups=np.repeat(groups, patches.shape[1]),
        snapshots=np.repeat(np.arange(len(patches)), patches.shape[1]),
        seed=0,
    )
    by = [correlation(m.encode_snapshot(patches)[:, 0], rates[:, 0]) for m in (told, rebuilt)]
    assert by[0] > 0.95 and by[1] < 0.6


def alike_of(patches):
    last = patches[..., 6:, :]
    return (last[..., 1:] == last[..., :-1]).mean(axis=(1, 2, 3, 4))
