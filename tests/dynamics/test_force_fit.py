"""Learning dz/dt = g(z) from forces on a few coordinates of a linear and a nonlinear system."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from macrodyn.dynamics.force_fit import WIDTHS, ForceFitSettings, fit_forces, fit_units
from macrodyn.dynamics.force_forms import ForceProducts
from macrodyn.dynamics.force_output import RIDGES, solve_output

N, D, RUNS, EACH = 40, 3, 20, 25


def rate(z):
    """A damped, nonlinear oscillator, and the heat that it makes: their energy is kept."""
    q, p, _ = z.T
    return np.stack([p, -q - q**3 - 0.4 * p, 0.4 * p**2], axis=1)


def configurations(unresolved=0.3, drawn=4, seed=0):
    """States on random runs, x = basis z and a part of f that z does not tell."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(N, N)))[0]
    z = rng.uniform(-1, 1, size=(RUNS * EACH, D)) * [1.0, 0.6, 0.5]
    forces = rate(z) @ basis[:D] + unresolved * rng.normal(size=(len(z), N - D)) @ basis[D:]
    jacobian = np.broadcast_to(basis[:D], (len(z), D, N)).copy()
    chosen = rng.permuted(np.tile(np.arange(N), (len(z), 1)), axis=1)[:, :drawn]
    none = np.array([], dtype=int)
    seen = np.take_along_axis(forces, chosen, axis=1)
    products = ForceProducts.of(jacobian, chosen, seen, none, np.empty((len(z), 0)))
    return z, products, np.arange(RUNS).repeat(EACH)


def fitted(data, **changes):
    z, products, groups = data
    settings = ForceFitSettings(
        **{"members": 2, "hidden": (24,), "steps": 600, "batch": 128} | changes
    )
    return fit_forces(z, products, settings, observables=1, groups=groups, seed=1)


def error(ensemble, z):
    with torch.no_grad():
        found = ensemble.drift(torch.as_tensor(z)).double().numpy()
    expected = rate(z)
    return np.sqrt(np.square(found - expected).sum(2).mean(1) / np.square(expected).sum(1).mean())


@pytest.mark.parametrize("model", WIDTHS)
@pytest.mark.parametrize("loss", ["microscopic", "latent", "controlled"])
def test_drift_is_learned_from_all_forces(model, loss):
    data = configurations(drawn=N)
    # A product of many small matrices takes longer, and longer to train.
    steps, limit = (400, 0.3) if model == "gfinn" else (600, 0.1)
    ensemble, history = fitted(data, model=model, loss=loss, steps=steps)
    assert error(ensemble, data[0]).max() < limit
    assert ensemble.members == 2 and not ensemble.noisy and len(history.best_loss) == 2


def test_microscopic_loss_has_less_noise_than_the_latent_one():
    """Of a tenth of the forces: what they resolve is no noise of L_{x,p}, but of L_{z,p}."""
    data = configurations(unresolved=0.02)
    errors = {
        loss: error(fitted(data, loss=loss)[0], data[0]).mean()
        for loss in ("microscopic", "latent", "controlled")
    }
    assert errors["microscopic"] < 0.1
    assert errors["controlled"] < 0.2
    assert errors["latent"] > 3 * errors["microscopic"]


def mean_form(ensemble, z, form):
    """Mean of the form of each member's drift, in the members' units."""
    with torch.no_grad():
        drift = (ensemble.drift(torch.as_tensor(z)) / ensemble.drift_scale).double().numpy()
    return np.array([form(member).mean() for member in drift])


def test_output_layer_is_at_the_minimum_of_its_form():
    z, products, groups = data = configurations(unresolved=0.05, drawn=20)
    ensemble, _ = fitted(data, steps=100, output_layer=False)
    form = products.microscopic().scaled(ensemble.drift_scale.double().numpy())
    before = mean_form(ensemble, z, form)
    split = np.flatnonzero(groups < 16), np.flatnonzero(groups >= 16)
    ridge = solve_output(ensemble, z, form, split, groups)
    after = mean_form(ensemble, z, form)
    assert ridge in RIDGES[1:] and (after < before).all()
    # Any change of the output layer that the ridge allows makes it worse.
    bias = ensemble.parameters_by_name()["linear.bias"]
    for sign in (1, -1):
        with torch.no_grad():
            bias.add_(sign * 0.02)
            assert (mean_form(ensemble, z, form) > after).all()
            bias.sub_(sign * 0.02)


def test_noise_alone_does_not_move_the_output_layer():
    """Held-out runs tell what the training data cannot: there is nothing more to learn."""
    z, products, groups = configurations(unresolved=3.0, drawn=2)
    ensemble, _ = fitted((z, products, groups), steps=300, output_layer=False)
    before = ensemble.drift(torch.as_tensor(z))
    form = products.microscopic().scaled(ensemble.drift_scale.double().numpy())
    split = np.flatnonzero(groups < 16), np.flatnonzero(groups >= 16)
    assert solve_output(ensemble, z, form, split, groups) is None
    assert torch.equal(ensemble.drift(torch.as_tensor(z)), before)


def test_output_layer_arrives():
    data = configurations(unresolved=0.05, drawn=20)
    solved, trained = (fitted(data, steps=100, output_layer=o)[0] for o in (True, False))
    z = torch.as_tensor(data[0])
    assert not torch.allclose(solved.drift(z), trained.drift(z), rtol=1e-3)


def test_predictions_are_led_back_from_where_there_were_no_data():
    data = configurations(drawn=20)
    ensemble, _ = fitted(data, steps=100)
    far = torch.tensor([[5.0, 0.0, 0.0], [0.0, -4.0, 0.0], [0.0, 0.0, 4.0]], dtype=torch.float64)
    middle = torch.as_tensor(data[0].mean(0))
    inwards = (ensemble.drift(far).double() * (middle - far)).sum(-1)
    assert (inwards > 0).all()


def test_known_rates_are_compared_or_not():
    """Half of the coordinates are known: with no other force than one, they teach the drift."""
    rng = np.random.default_rng(3)
    z, _, groups = configurations()
    basis = np.linalg.qr(rng.normal(size=(N, N)))[0]
    forces = rate(z) @ basis[:D]
    known = np.arange(0, N, 2)
    drawn = np.full((len(z), 1), 1)
    jacobian = np.broadcast_to(basis[:D], (len(z), D, N)).copy()
    products = ForceProducts.of(jacobian, drawn, forces[:, [1]], known, forces[:, known])
    errors = [error(fitted((z, products, groups), known=k)[0], z).mean() for k in (True, False)]
    assert errors[0] < 0.1 < 0.3 < errors[1]


def test_units_come_from_the_forces_at_hand_and_closure_variables_share_one():
    z, products, _ = configurations(drawn=N)
    units = fit_units(z, products, 1, known=True)
    own = z.std(0)
    shared = np.sqrt(np.square(own[1:]).mean())
    np.testing.assert_allclose(units.z_scale.numpy(), [own[0], shared, shared])
    expected = np.diff(np.quantile(rate(z), [0.16, 0.84], axis=0), axis=0)[0] / 2
    np.testing.assert_allclose(units.drift_scale.numpy(), expected, rtol=0.1)


def test_a_constant_variable_is_refused():
    z, products, _ = configurations()
    with pytest.raises(ValueError, match=r"Variables \[1\] have the same value"):
        fit_units(z * [1.0, 0.0, 1.0], products, 1, known=True)


@pytest.mark.parametrize("model", ["onsagernet", "gfinn"])
def test_models_with_laws_have_one_rate(model):
    ensemble, _ = fitted(configurations(), model=model, steps=20)
    rates = ensemble.drift_scale / ensemble.z_scale
    torch.testing.assert_close(rates[0], rates[1])


def test_training_goes_on_from_a_checkpoint(tmp_path):
    from macrodyn.storage.checkpoints import Checkpoints, Interrupted

    data = configurations()
    whole, _ = fitted(data, steps=60, validation_every=20)
    z, products, groups = data
    settings = ForceFitSettings(members=2, hidden=(24,), steps=60, batch=128, validation_every=20)
    stopped = {"now": False}

    def stop(step, steps, loss):
        stopped["now"] = step >= 40

    kept = Checkpoints(tmp_path / "c", every=0.0, stop=lambda: stopped["now"])
    arguments = {"observables": 1, "groups": groups, "seed": 1}
    with pytest.raises(Interrupted):
        fit_forces(z, products, settings, **arguments, checkpoints=kept, progress=stop)
    again = Checkpoints(tmp_path / "c", every=1e9, stop=lambda: False)
    resumed, _ = fit_forces(z, products, settings, **arguments, checkpoints=again)
    assert torch.equal(resumed.drift(torch.as_tensor(z)), whole.drift(torch.as_tensor(z)))
