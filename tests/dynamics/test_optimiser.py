"""AdamW for an ensemble: what decays, and whose gradient is clipped."""

from __future__ import annotations

import pytest
import torch

from macrodyn.dynamics._optimiser import EnsembleAdamW
from macrodyn.dynamics.model import Architecture, EnsembleSDE


@pytest.mark.parametrize("covariance", ["full", "constant"])
def test_weights_decay_and_nothing_else(covariance) -> None:
    architecture = Architecture(variables=2, members=2, hidden=(3, 4), covariance=covariance)
    model = EnsembleSDE(architecture).requires_grad_(False)
    optimiser = EnsembleAdamW(model, weight_decay=0.5, gradient_clip=1.0)
    optimiser.flat.fill_(1.0)
    optimiser.update(1, 0.1)
    left = {name: set(parameter.unique().tolist()) for name, parameter in model.named_parameters()}
    weights = {"weights.0", "weights.1", "drift_out"}
    if covariance == "full":
        weights.add("diffusion_out")
    # Not the linear drift either, which is a fit of the data and no network.
    kept = {"biases.0", "biases.1", "drift_bias", "drift_linear", "diffusion_bias"}
    assert left.keys() == weights | kept
    shrunk = (torch.ones(()) - 0.1 * 0.5).item()
    assert left == {name: {shrunk} for name in weights} | {name: {1.0} for name in kept}


def test_gradient_is_clipped_of_each_network_alone() -> None:
    model = EnsembleSDE(Architecture(variables=1, members=2, hidden=(3,))).requires_grad_(False)
    optimiser = EnsembleAdamW(model, weight_decay=0.0, gradient_clip=1.0)
    optimiser.gradients["drift_linear"][0] = 100.0
    optimiser.gradients["drift_linear"][1] = 0.5
    optimiser.update(1, 0.1)
    first = dict(zip(["large", "small"], optimiser.first[optimiser.first != 0], strict=True))
    # A tenth of the gradient goes into the first moment.
    assert first["large"].item() == pytest.approx(0.1)
    assert first["small"].item() == pytest.approx(0.05)
