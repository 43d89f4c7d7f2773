"""Closure variables of patches and snapshots, their scaling, and the model on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from macrodyn.closure import (
    ENCODER_KINDS,
    Architecture,
    PatchAutoencoder,
    load_autoencoder,
    save_autoencoder,
)
from macrodyn.storage.models import ModelFileError, save_model


def make_model(patch=(10, 8), *, seed: int = 1, **change) -> PatchAutoencoder:
    fields = {
        "kind": "spin",
        "patch": patch,
        "state_channels": 1,
        "observables": 2,
        "closure_dim": 3,
        "channels": (4, 6),
        "hidden": 8,
    }
    return PatchAutoencoder(Architecture(**(fields | change)), seed=seed).eval()


def spins(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array([-1, 1], dtype=np.int8), size=shape)


@pytest.mark.parametrize("encoder", ENCODER_KINDS)
def test_snapshot_closure_is_the_mean_over_its_patches(encoder, monkeypatch) -> None:
    model = make_model(encoder=encoder)
    patches = spins((5, 6, 1, 10, 8))
    monkeypatch.setattr("macrodyn.closure.model._SITES_PER_CHUNK", 7 * 80)
    closure = model.encode_snapshot(patches)
    assert model.chunk == 7
    assert closure.dtype == np.float64
    direct = torch.stack([model.encode(torch.as_tensor(p)).double().mean(0) for p in patches])
    np.testing.assert_allclose(closure, direct.detach().numpy(), atol=1e-6)


def test_arrays_of_any_layout_are_read() -> None:
    model = make_model()
    patches = spins((6, 1, 10, 8))
    expected = model.encode_patches(patches)
    read_only = patches.copy()
    read_only.flags.writeable = False
    strided = np.repeat(patches, 2, axis=-1)[..., ::2]
    reverse = np.ascontiguousarray(patches[::-1])[::-1]
    for array in (read_only, strided, reverse):
        assert np.array_equal(model.encode_patches(array), expected)
    assert model.encode_snapshot(patches[:0].reshape(0, 4, 1, 10, 8)).shape == (0, 3)


def test_other_patch_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 10, 8\)"):
        make_model().encode_patches(spins((4, 1, 8, 10)))


def test_pooled_closure_does_not_see_where_a_pattern_stands() -> None:
    """A pattern surrounded by uniform sites makes the same windows wherever it stands.

    The receptive field is 5 sites wide, so 4 uniform sites between the pattern and each edge
    make the multiset of windows the same for all such positions.
    """
    pattern = spins((6, 7), seed=3)

    def place(i: int, j: int) -> np.ndarray:
        patch = np.ones((1, 1, 18, 20), dtype=np.int8)
        patch[0, 0, i : i + 6, j : j + 7] = pattern
        return patch

    patches = np.concatenate([place(i, j) for i in range(4, 9) for j in range(4, 10)])
    closure = make_model((18, 20), encoder="pooled").encode_patches(patches)
    assert np.ptp(closure, axis=0).max() < 1e-6
    strided = make_model((18, 20), encoder="strided").encode_patches(patches)
    assert np.ptp(strided, axis=0).max() > 1e-3


def test_pooled_closure_of_a_patch_is_the_mean_over_parts_that_share_their_edges() -> None:
    """Two parts that overlap by the receptive field less one site split the windows in two."""
    whole = spins((8, 1, 20, 9), seed=4)
    large = make_model((20, 9), encoder="pooled")
    small = make_model((12, 9), encoder="pooled")
    small.load_state_dict(
        {name: value for name, value in large.state_dict().items() if "decoder" not in name},
        strict=False,
    )
    parts = [small.encode_patches(whole[:, :, start : start + 12]) for start in (0, 8)]
    np.testing.assert_allclose(large.encode_patches(whole), np.mean(parts, axis=0), atol=1e-6)


def test_normalisation_keeps_reconstructions() -> None:
    model = make_model()
    patches, observables = torch.as_tensor(spins((30, 1, 10, 8))), torch.randn(30, 2)
    before = model(patches, observables)
    for _ in range(2):
        model.closure_scale.mul_(3.0)
        model.closure_shift.add_(0.5)
        model.fit_normalisation(model.encode_patches(patches))
    closure = model.encode_patches(patches)
    np.testing.assert_allclose(closure.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(closure.std(axis=0), 1, atol=1e-5)
    torch.testing.assert_close(model(patches, observables), before, atol=1e-5, rtol=1e-4)


def test_constant_closure_variables_are_refused() -> None:
    closure = np.random.default_rng(0).normal(size=(20, 3))
    closure[:, 1] = 4.0
    with pytest.raises(ValueError, match=r"\[1\] do not vary"):
        make_model().fit_normalisation(closure)


def test_without_closure_variables() -> None:
    model = make_model(closure_dim=0)
    patches = spins((4, 5, 1, 10, 8))
    assert model.encode_snapshot(patches).shape == (4, 0)
    observables = torch.tensor([[0.1, 0.2], [0.1, 0.2], [0.5, 0.2]])
    logits = model(torch.as_tensor(patches[0, :3]), observables)
    assert torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[0], logits[2])


@pytest.mark.parametrize("encoder", ENCODER_KINDS)
@pytest.mark.parametrize("closure_dim", [0, 2])
def test_save_and_load(tmp_path: Path, encoder, closure_dim: int) -> None:
    model = make_model(encoder=encoder, closure_dim=closure_dim)
    patches = spins((20, 1, 10, 8))
    observables = torch.randn(20, 2)
    model.fit_scalers(torch.as_tensor(patches), observables)
    if closure_dim:
        model.fit_normalisation(model.encode_patches(patches))
    path = tmp_path / "closure.safetensors"
    save_autoencoder(path, model, {"seed": 4})
    loaded, provenance = load_autoencoder(path)
    assert provenance == {"seed": 4}
    assert loaded.architecture == model.architecture
    assert not loaded.training
    assert np.array_equal(loaded.encode_patches(patches), model.encode_patches(patches))
    states = torch.as_tensor(patches)
    assert torch.equal(loaded(states, observables), model(states, observables))
    described = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["metadata"]
    assert described["architecture"]["patch"] == [10, 8]
    assert described["scalers"]["observable_shift"] == model.observable_shift.tolist()


def test_other_models_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "drift.safetensors"
    save_model(path, {}, {"model": "drift"})
    with pytest.raises(ModelFileError, match=r"drift\.safetensors holds .* unknown kind 'drift'"):
        load_autoencoder(path)


def test_a_model_of_the_dynamics_is_named_as_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_model(path, {}, {"kind": "latent-ensemble"})
    with pytest.raises(ModelFileError) as refusal:
        load_autoencoder(path)
    assert str(refusal.value) == (
        f"{path} holds a model of the dynamics (ensemble of latent models), which "
        "macrodyn.dynamics.Ensemble.load opens, not a closure model (patch autoencoder)"
    )


def test_weights_that_do_not_fit_the_architecture_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "closure.safetensors"
    save_autoencoder(path, make_model(), {})
    described = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["metadata"]
    described["architecture"]["hidden"] = 9
    save_model(path, make_model().state_dict(), described)
    with pytest.raises(ModelFileError, match=r"closure\.safetensors"):
        load_autoencoder(path)


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "closure.safetensors"
    save_autoencoder(path, make_model(), {})
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelFileError, match=r"closure\.safetensors is damaged.*rm "):
        load_autoencoder(path)
