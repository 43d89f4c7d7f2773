"""The partial likelihood against exact Gaussian densities."""

from __future__ import annotations

import pytest
import torch

from macrodyn.dynamics.likelihood import forward_substitution, partial_log_likelihood


def _case(d: int, batch: int = 50, members: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(d)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    cholesky = normal(members, batch, d, d).tril(-1)
    cholesky = cholesky + torch.diag_embed(torch.exp(normal(members, batch, d)))
    return {
        "increment": normal(batch, d),
        "drift": normal(members, batch, d),
        "cholesky": cholesky,
        "elapsed": torch.rand(batch, generator=generator, dtype=torch.float64) + 0.1,
    }


@pytest.mark.parametrize("d", [1, 2, 6])
@pytest.mark.parametrize("factor", [1.0, 16.0, 2.5])
def test_density_is_that_of_a_multivariate_normal(d: int, factor: float) -> None:
    case = _case(d)
    sigma = case["cholesky"] @ case["cholesky"].mT
    scale = factor * case["elapsed"]
    exact = torch.distributions.MultivariateNormal(
        case["drift"] * case["elapsed"][:, None], sigma * scale[:, None, None]
    ).log_prob(case["increment"])
    torch.testing.assert_close(partial_log_likelihood(**case, factor=factor), exact)


def test_forward_substitution_solves_the_system() -> None:
    case = _case(5)
    solution = forward_substitution(case["cholesky"], case["drift"])
    torch.testing.assert_close((case["cholesky"] @ solution[..., None])[..., 0], case["drift"])


def test_a_tiny_covariance_is_not_hidden() -> None:
    """At Sigma of 1e-16 an epsilon of 1e-8 would change the density by many units."""
    case = _case(2)
    case["cholesky"] = case["cholesky"] * 1e-8
    case["increment"] = case["drift"][0] * case["elapsed"][:, None]
    value = partial_log_likelihood(**case)[0]
    determinant = 2 * case["cholesky"][0].diagonal(dim1=-2, dim2=-1).log().sum(-1)
    exact = -0.5 * (determinant + 2 * torch.log(2 * torch.pi * case["elapsed"]))
    torch.testing.assert_close(value, exact)
