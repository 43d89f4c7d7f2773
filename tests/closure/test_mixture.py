"""Decoders of the whole: the likelihood of a mixture, and what they find that others cannot."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from macrodyn.closure.layers import Architecture
from macrodyn.closure.mixture import COMPONENTS, mixture_loss
from macrodyn.closure.model import PatchAutoencoder, load_autoencoder, save_autoencoder
from macrodyn.closure.reconstruction import reconstruction_loss
from macrodyn.closure.settings import ClosureSettings
from macrodyn.closure.train import train_closure

SETTINGS = ClosureSettings(
    dimension=1, channels=(8,), hidden=32, steps=600, batch=512, validation_every=100,
    learning_rate=3e-3, decoder="whole",
)  # fmt: skip


def make_patches(kind, rng, shape):
    if kind == "field":
        return rng.normal(size=shape).astype(np.float32)
    if kind == "species":
        return rng.integers(0, 3, shape).astype(np.uint8)
    return rng.choice([-1, 1], shape).astype(np.int8)


@pytest.mark.parametrize("kind", ["spin", "field", "species"])
def test_loss_is_that_of_the_components_weighted(kind) -> None:
    """With one weight of 1 it is the usual loss; with two, the sum of their likelihoods."""
    rng, species = np.random.default_rng(0), 3 if kind == "species" else 0
    architecture = Architecture(
        kind=kind, patch=(3, 2), state_channels=2, species=species, observables=1, closure_dim=1,
        decoder="whole",
    )  # fmt: skip
    model = PatchAutoencoder(architecture, seed=2)
    patches = torch.from_numpy(make_patches(kind, rng, (4, 5, 2, 3, 2)))
    _, logits = model.decoder(torch.randn(4, 2))
    inputs = model.encoder_inputs(patches.flatten(0, 1)).unflatten(0, (4, 5))
    assert logits.shape == (4, COMPONENTS, *inputs.shape[2:])

    def usual(component):
        each = logits[:, component].repeat_interleave(5, dim=0)
        scaler = {"mean": model.field_mean, "scale": model.field_scale}
        flat = patches.flatten(0, 1)
        return torch.stack(
            [reconstruction_loss(each[[i]], flat[[i]], kind, **scaler) for i in range(20)]
        )

    weights = torch.full((4, COMPONENTS), -torch.inf)
    weights[:, 3] = 0.0
    found = mixture_loss(weights, logits, inputs, kind, species)
    torch.testing.assert_close(found, usual(3).mean(), atol=1e-5, rtol=1e-5)
    weights[:, 3], weights[:, 5] = np.log(0.3), np.log(0.7)
    found = mixture_loss(weights, logits, inputs, kind, species)
    size = 12 * (0.5 if kind == "field" else 1.0)
    likelihood = 0.3 * torch.exp(-size * usual(3)) + 0.7 * torch.exp(-size * usual(5))
    torch.testing.assert_close(found, -likelihood.log().mean() / size, atol=1e-5, rtol=1e-5)


def phases(count, each, seed):
    """Snapshots of magnetisation 0, whose patches have +a or -a; a differs between snapshots."""
    rng = np.random.default_rng(seed)
    a = rng.uniform(0, 0.9, count)
    sign = np.tile([1.0, -1.0], (count, each // 2))
    up = rng.random((count, each, 1, 4, 4)) < 0.5 * (1 + sign * a[:, None])[..., None, None, None]
    return np.where(up, 1, -1).astype(np.int8), a


def trained(decoder, dimension, patches):
    count, each = patches.shape[:2]
    flat = patches.reshape(-1, 1, 4, 4)
    own = flat.mean(axis=(2, 3))
    observables = np.zeros_like(own) if decoder == "whole" else own
    label = np.repeat(np.arange(count), each)
    settings = SETTINGS.model_copy(update={"decoder": decoder, "dimension": dimension})
    return train_closure(
        flat, observables, settings, kind="spin", groups=label, snapshots=label,
        train_baseline=True,
    )  # fmt: skip


def test_decoder_of_the_whole_finds_how_patches_differ(tmp_path) -> None:
    """Their mean square; a decoder that is told m_I is told the accidents of single patches."""
    patches, _ = phases(400, 16, seed=0)
    fresh, a = phases(300, 64, seed=1)
    explained = {}
    for decoder in ("whole", "patch"):
        model, _ = trained(decoder, 1, patches)
        zhat = model.encode_snapshot(fresh)[:, 0]
        explained[decoder] = np.corrcoef(zhat, a**2)[0, 1] ** 2
        save_autoencoder(tmp_path / "model.safetensors", model, {})
        again, _ = load_autoencoder(tmp_path / "model.safetensors")
        np.testing.assert_array_equal(again.encode_snapshot(fresh)[:, 0], zhat)
    assert explained["whole"] > 0.9 and explained["patch"] < 0.5


def test_snapshots_of_one_patch_are_refused() -> None:
    patches, _ = phases(20, 2, seed=0)
    with pytest.raises(ValueError, match="whole needs two patches or more of each snapshot"):
        trained("whole", 1, patches[:, :1])
