"""The written-out gradient against automatic differentiation."""

from __future__ import annotations

import pytest
import torch

from macrodyn.dynamics import (
    Architecture,
    EnsembleSDE,
    TransitionData,
    fit_scalers,
    partial_log_likelihood,
)
from macrodyn.dynamics.gradient import LikelihoodGradient


@pytest.mark.parametrize("form", ["full", "diagonal", "constant"])
@pytest.mark.parametrize("activation", ["silu", "tanh"])
@pytest.mark.parametrize("batch", [40, None], ids=["minibatch", "all"])
def test_gradient_is_that_of_autograd(form: str, activation: str, batch: int | None) -> None:
    generator = torch.Generator().manual_seed(3)
    n, d, members = 300, 3, 2
    z = torch.randn(n, d, generator=generator)
    mix = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.3, 0.0], [-0.2, 0.1, 2.0]])
    data = TransitionData(
        z=z,
        increment=torch.randn(n, d, generator=generator) @ mix.T - 0.3 * z,
        elapsed=torch.rand(n, generator=generator) + 0.5,
        conditions=torch.randn(n, 1, generator=generator),
        group=torch.arange(n),
        factor=4.0,
    )
    architecture = Architecture(
        variables=d,
        conditions=1,
        members=members,
        hidden=(7, 5),
        activation=activation,  # type: ignore[arg-type]
        covariance=form,  # type: ignore[arg-type]
    )
    model = EnsembleSDE(architecture, fit_scalers(data), seed=1)
    with torch.no_grad():
        model.diffusion_bias.normal_(generator=generator)
    index = None
    if batch is not None:
        index = torch.randint(n, (members, batch), generator=generator)
    rows = torch.arange(n).expand(members, n) if index is None else index
    drift, cholesky = model(data.z[rows], data.conditions[rows])
    density = partial_log_likelihood(
        data.increment[rows], drift, cholesky, data.elapsed[rows], factor=data.factor
    )
    nll = -density.mean(-1)
    nll.sum().backward()
    written = {name: torch.empty_like(p) for name, p in model.named_parameters()}
    gradient = LikelihoodGradient(model, data, written)
    torch.testing.assert_close(gradient(index), nll.detach(), rtol=1e-5, atol=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(written[name], parameter.grad, rtol=1e-4, atol=1e-5, msg=name)
    if index is None:
        torch.testing.assert_close(gradient.evaluate().float(), nll.detach(), rtol=1e-5, atol=1e-5)
