"""What takes over where a model has seen no data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from macrodyn.dynamics import DynamicsSettings, Ensemble, TransitionData, train_ensemble
from macrodyn.dynamics.continuation import EDGE, Continuation, contracting_fit
from macrodyn.dynamics.latent import LatentModel
from macrodyn.dynamics.scalers import Scalers

from .conftest import changed

LITTLE = DynamicsSettings(members=3, steps=300, batch=256, hidden=(24,))


class Itself(LatentModel):
    """A drift that holds everywhere, and says so."""

    continues = True
    noisy = False

    def __init__(self, variables: int, conditions: int) -> None:
        super().__init__(variables, conditions)
        self.rate = nn.Parameter(-torch.ones(variables))

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, None]:
        return self.rate * inputs[..., : self.variables], None


class Other(Itself):
    """The same, which does not."""

    continues = False


def sheet(samples: int = 3000, conditions: int = 0) -> TransitionData:
    """Relaxation on a thin sheet: the second variable is nearly the first."""
    rng = np.random.default_rng(3)
    first = rng.uniform(-1, 1, samples)
    z = np.stack([first, first + 0.01 * rng.normal(size=samples)], axis=1)
    noise = rng.normal(size=(samples, 2)) * 0.01
    given = rng.uniform(0, 1, (samples, conditions))
    made = {"z": z, "increment": -0.5 * z + noise, "elapsed": np.ones(samples), "conditions": given}
    tensors = {name: torch.as_tensor(value, dtype=torch.float32) for name, value in made.items()}
    return TransitionData(**tensors, group=torch.arange(samples) % 50)


def trained(data: TransitionData, kind: str = "neural-sde", **changes: object) -> Ensemble:
    settings = changed(LITTLE, **changes)
    return train_ensemble(*data.split(0.2, seed=1), settings, seed=2, kind=kind)[0]


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    return trained(sheet())


def endless(ensemble: Ensemble) -> Ensemble:
    """The same without a continuation."""
    free = trained(sheet())
    free.load_state_dict(ensemble.state_dict())
    free.continuation.low.fill_(-torch.inf)
    free.continuation.high.fill_(torch.inf)
    return free


def test_on_the_data_nothing_is_changed_to_the_bit(ensemble):
    z = sheet().z
    drift, factor = ensemble(z)
    free_drift, free_factor = endless(ensemble)(z)
    assert torch.equal(drift, free_drift)
    assert torch.equal(factor, free_factor)


@pytest.mark.parametrize("z", [[0.5, -0.5], [-8.0, -8.0], [30.0, -4.0]])
def test_a_trajectory_from_outside_comes_back_to_the_data(ensemble, z):
    end = torch.tensor([[z]], dtype=torch.float32).expand(ensemble.members, -1, -1)
    for _ in range(2000):
        end = end + 0.1 * ensemble.drift(end)
    assert end.abs().max() < 0.2
    assert (end[..., 0] - end[..., 1]).abs().max() < 0.1


def test_beside_a_thin_sheet_is_outside_though_each_variable_is_in_its_range(ensemble):
    inside, beside = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.5, -0.5]])
    shares = [
        ensemble.continuation.hold(ensemble._inputs(z, None)[0])[1].item() for z in (inside, beside)
    ]
    assert shares[0] == 1.0
    assert shares[1] < 0.01


def test_the_noise_outside_is_that_of_the_edge(ensemble):
    far, further = torch.tensor([[5.0, 5.0]]), torch.tensor([[50.0, 50.0]])
    assert torch.allclose(ensemble.covariance(far), ensemble.covariance(further), 1e-2, 1e-6)


def test_far_outside_the_drift_is_the_linear_one(ensemble):
    z = torch.tensor([[400.0, -300.0]])
    drift = ensemble.drift(z)
    inputs = ensemble._inputs(z, None)
    linear = ensemble.continuation.linear
    expected = (inputs @ linear[1:] + linear[0]) * ensemble.drift_scale @ ensemble.basis.T
    assert torch.allclose(drift, expected, rtol=1e-3)


def test_a_little_outside_the_model_still_counts():
    outline = Continuation(1, 0)
    z = np.linspace(-1, 1, 101)[:, None]
    outline.fit(z, -z, Scalers.identity(1, 0), step=0.1)
    places = [1.0, 1.0 + EDGE, 1.0 + 2 * EDGE, 1.0 + 11 * EDGE]
    held, share = outline.hold(torch.tensor(places, dtype=torch.float32)[:, None])
    np.testing.assert_allclose(held[:, 0], [1.0, *[1.0 + EDGE] * 3], rtol=1e-6)
    np.testing.assert_allclose(share[:, 0], [1.0, 1.0, 0.5, 1 / 101], rtol=1e-5)


def test_conditions_are_not_held():
    data = sheet(conditions=1)
    ensemble = trained(data)
    inputs = torch.tensor([[0.0, 0.0, 7.0]])
    held, share = ensemble.continuation.hold(inputs)
    assert torch.equal(held, inputs)
    assert share.item() == 1.0


@pytest.mark.parametrize(("kind", "held"), [("Itself", False), ("Other", True)])
def test_a_model_may_say_itself_what_happens_outside(kind, held):
    ensemble = trained(sheet(), kind=f"{__name__}:{kind}")
    z = torch.tensor([[3.0, -3.0]])
    inputs = ensemble._inputs(z, None)
    own = ensemble.evaluate(ensemble.parameters_by_name(), inputs)[0] * ensemble.drift_scale
    assert torch.equal(ensemble.drift(z), own) is not held


def test_it_is_saved(ensemble, tmp_path):
    ensemble.save(tmp_path / "model.safetensors")
    loaded = Ensemble.load(tmp_path / "model.safetensors")
    z = torch.tensor([[2.0, -3.0]])
    assert torch.equal(loaded.drift(z), ensemble.drift(z))
    assert not torch.equal(loaded.drift(z), endless(ensemble).drift(z))


def test_an_expanding_drift_is_made_contracting():
    x = np.random.default_rng(0).uniform(-1, 1, (500, 2))
    scalers = Scalers.identity(2, 0)
    linear = contracting_fit(x, x + 0.1, scalers, x.min(axis=0), x.max(axis=0), step=0.1)
    matrix = linear[1:].T
    assert np.linalg.eigvalsh(matrix + matrix.T).max() < 0
    fixed = -np.linalg.solve(matrix, linear[0])
    assert (np.abs(fixed) <= 1).all()


@pytest.mark.parametrize("step", [0.01, 1.0, 30.0])
def test_no_step_of_a_prediction_jumps_over_the_fixed_point(step):
    x = np.random.default_rng(0).uniform(-1, 1, (500, 2))
    turning = x @ np.array([[-3.0, 8.0], [-8.0, -0.2]])
    linear = contracting_fit(
        x, turning, Scalers.identity(2, 0), x.min(axis=0), x.max(axis=0), step=step
    )
    fixed = -np.linalg.solve(linear[1:].T, linear[0])
    z = np.array([40.0, -7.0])
    distances = []
    for _ in range(20):
        z = z + step * (linear[0] + z @ linear[1:])
        distances.append(np.linalg.norm(z - fixed))
    assert (np.diff(distances) <= 1e-12).all()
