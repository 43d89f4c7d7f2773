"""Shapes, independence of the members, scalers and files of the ensemble."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from macrodyn import closure
from macrodyn.dynamics import Ensemble, Scalers
from macrodyn.storage.models import save_model

FORMS = ["full", "diagonal", "constant"]


def _scalers(d: int, c: int) -> Scalers:
    generator = torch.Generator().manual_seed(1)
    return Scalers(
        z_mean=torch.randn(d, generator=generator),
        z_scale=torch.rand(d, generator=generator) + 0.5,
        condition_mean=torch.randn(c, generator=generator),
        condition_scale=torch.rand(c, generator=generator) + 0.5,
        drift_scale=torch.rand(d, generator=generator) + 0.1,
        diffusion_scale=torch.randn(d, d, generator=generator).tril(-1) + 0.3 * torch.eye(d),
    )


def _model(form: str, *, d: int = 3, c: int = 1, members: int = 4, seed: int = 0) -> Ensemble:
    linear = torch.randn(1 + d + c, d, generator=torch.Generator().manual_seed(2))
    return Ensemble(
        variables=d,
        conditions=c,
        members=members,
        options={"hidden": [16, 8], "covariance": form},
        scalers=_scalers(d, c),
        linear_drift=linear,
        seed=seed,
    )


@pytest.mark.parametrize("form", FORMS)
def test_forward_agrees_with_drift_and_cholesky(form: str) -> None:
    model, z, c = _model(form), torch.randn(4, 10, 3), torch.randn(10, 1)
    drift, cholesky = model(z, c)
    assert drift.shape == (4, 10, 3)
    assert cholesky.shape == (4, 10, 3, 3)
    torch.testing.assert_close(drift, model.drift(z, c))
    torch.testing.assert_close(cholesky, model.cholesky(z, c))
    torch.testing.assert_close(model.covariance(z, c), cholesky @ cholesky.mT)


@pytest.mark.parametrize("form", FORMS)
def test_the_factor_is_lower_triangular_with_positive_diagonal(form: str) -> None:
    cholesky = _model(form).cholesky(20 * torch.randn(1, 200, 3), torch.randn(200, 1))
    assert bool((cholesky.triu(1) == 0).all())
    assert bool((cholesky.diagonal(dim1=-2, dim2=-1) > 0).all())
    if form == "diagonal":
        assert bool((cholesky.tril(-1) == 0).all())
    else:
        assert bool((cholesky.tril(-1) != 0).any())


def test_an_untrained_constant_model_returns_its_reference() -> None:
    model = _model("constant")
    cholesky = model.cholesky(torch.zeros(5, 3), torch.zeros(5, 1))
    torch.testing.assert_close(cholesky, model.diffusion_scale.expand(4, 5, 3, 3))


@pytest.mark.parametrize("form", FORMS)
def test_a_member_does_not_depend_on_the_others(form: str) -> None:
    z, c = torch.randn(7, 3), torch.randn(7, 1)
    small, large = _model(form, members=2), _model(form, members=5)
    torch.testing.assert_close(small.drift(z, c), large.drift(z, c)[:2])
    torch.testing.assert_close(small.cholesky(z, c), large.cholesky(z, c)[:2])
    assert not torch.allclose(large.drift(z, c)[0], large.drift(z, c)[1])
    assert not torch.allclose(_model(form, seed=1).drift(z, c), _model(form).drift(z, c))


def test_shared_and_separate_states_agree() -> None:
    model, z, c = _model("full"), torch.randn(7, 3), torch.randn(7, 1)
    torch.testing.assert_close(model.drift(z, c), model.drift(z.expand(4, 7, 3), c))
    torch.testing.assert_close(model.drift(z, c[:1]), model.drift(z, c[:1].expand(7, 1)))


@pytest.mark.parametrize("form", FORMS)
def test_a_saved_model_is_the_same_model(form: str, tmp_path: Path) -> None:
    model, z, c = _model(form), torch.randn(9, 3), torch.randn(9, 1)
    model.save(tmp_path / "sde.safetensors", {"variables": ["m", "rho", "closure_0"]})
    loaded = Ensemble.load(tmp_path / "sde.safetensors")
    assert loaded.metadata == {"variables": ["m", "rho", "closure_0"]}
    assert (loaded.kind, loaded.options) == (model.kind, model.options)
    assert torch.equal(loaded.drift(z, c), model.drift(z, c))
    assert torch.equal(loaded.cholesky(z, c), model.cholesky(z, c))


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path / "other.safetensors", {"x": torch.zeros(1)}, {"kind": "Encoder"})
    with pytest.raises(ValueError, match=r"other\.safetensors holds .* kind 'Encoder', not"):
        Ensemble.load(tmp_path / "other.safetensors")


def test_a_closure_model_is_named_as_what_it_is(tmp_path: Path) -> None:
    architecture = closure.Architecture(
        kind="spin", patch=(4, 4), state_channels=1, observables=1, closure_dim=1
    )
    path = tmp_path / "closure.safetensors"
    closure.save_autoencoder(path, closure.PatchAutoencoder(architecture, seed=1), {})
    with pytest.raises(ValueError) as refusal:
        Ensemble.load(path)
    assert str(refusal.value) == (
        f"{path} holds a closure model (patch autoencoder), which "
        "macrodyn.closure.load_autoencoder opens, not a model of the dynamics (ensemble of latent "
        "models)"
    )


@pytest.mark.parametrize(
    ("z", "conditions", "message"),
    [
        pytest.param(torch.zeros(2, 2), torch.zeros(2, 1), "3 variables", id="variables"),
        pytest.param(torch.zeros(2, 3), None, "1 condition", id="no-conditions"),
        pytest.param(torch.zeros(2, 3), torch.zeros(2, 2), "1 condition", id="conditions"),
    ],
)
def test_wrong_inputs_are_named(
    z: torch.Tensor, conditions: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _model("full")(z, conditions)
