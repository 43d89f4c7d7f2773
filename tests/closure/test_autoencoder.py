"""Dense autoencoders of coordinates, and the order of a crystal with a basis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.func import jacrev, vmap

from macrodyn.closure import (
    Architecture,
    Autoencoder,
    ClosureSettings,
    PatchAutoencoder,
    load_autoencoder,
    save_autoencoder,
    train_closure,
)
from macrodyn.closure.layers import EncoderKind
from macrodyn.storage.models import ModelFileError

SHAPES = [pytest.param((12,), id="vector"), pytest.param((6, 2), id="particles")]


def make_model(shape, *, seed: int = 0, **change) -> Autoencoder:
    fields = {
        "kind": "coordinates",
        "patch": shape[1:],
        "state_channels": shape[0],
        "observables": 0,
        "closure_dim": 2,
        "encoder": "dense",
        "channels": (8, 6),
        "hidden": 16,
    }
    return Autoencoder(Architecture(**(fields | change)), seed=seed)


def linear_data(shape, count: int = 2000) -> torch.Tensor:
    """Coordinates of very different sizes that are linear in two numbers."""
    generator = torch.Generator().manual_seed(3)
    hidden, maps = (torch.randn(n, m, generator=generator) for n, m in ((count, 2), (2, 12)))
    sizes = torch.logspace(-2, 2, 12)
    return ((hidden @ maps) * sizes + 5 * sizes).view(count, *shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_dense_autoencoder_rebuilds_linear_coordinates(shape) -> None:
    states, none = linear_data(shape), torch.zeros(2000, 0)
    model = make_model(shape, channels=(32,), hidden=32)
    model.fit_scalers(states, none)
    assert float(model.loss(states, none).detach()) > 0.5
    steps = 600
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        model.loss(states, none).backward()
        optimiser.step()
        falling.step()
    closure = model.encode_all(states)
    assert closure.shape == (2000, 2)
    model.fit_normalisation(closure)
    np.testing.assert_allclose(model.encode_all(states).std(axis=0), 1, atol=1e-4)
    with torch.no_grad():
        assert float(model.loss(states, none)) < 2e-3
        logits = model(states, none)
    rebuilt = logits * model.field_scale + model.field_mean
    error = (rebuilt - states).square().mean(0) / states.var(0)
    assert rebuilt.shape == states.shape
    assert float(error.max()) < 1e-2


@pytest.mark.parametrize("shape", SHAPES)
def test_jacobian_of_a_dense_encoder(shape) -> None:
    """It is that of differences, and a combination of the rows of the first layer's weights."""
    states = linear_data(shape, 5).double()
    model = make_model(shape)
    model.fit_scalers(linear_data(shape), torch.zeros(2000, 0))
    model.closure_scale *= 0.3
    model.double()

    def encode(state: torch.Tensor) -> torch.Tensor:
        return model.encode(state[None])[0]

    found = vmap(jacrev(encode))(states).detach().flatten(2)
    assert found.shape == (5, 2, 12)
    sizes = model.field_scale.flatten()
    for coordinate, size in enumerate(sizes.tolist()):
        step = torch.zeros(12, dtype=torch.float64)
        step[coordinate] = 1e-5 * size
        ends = (model.encode(states + sign * step.view(shape)) for sign in (1, -1))
        expected = torch.sub(*ends).detach() / (2e-5 * size)
        torch.testing.assert_close(found[:, :, coordinate] * size, expected * size)
    rows = model.first_layer.weight.detach()
    assert rows.shape == (8, 12)
    standardised = found * sizes
    kept = standardised @ torch.linalg.pinv(rows) @ rows
    torch.testing.assert_close(kept, standardised)
    assert float((found @ torch.linalg.pinv(rows) @ rows - found).abs().max()) > 1e-3


def test_first_layer_is_that_of_dense_encoders() -> None:
    grid = {"kind": "spin", "patch": (4, 3), "state_channels": 2, "channels": (5,)}
    dense = PatchAutoencoder(Architecture(**grid, observables=1, closure_dim=1, encoder="dense"))
    assert dense.first_layer.weight.shape == (5, 24)
    for model in (
        PatchAutoencoder(Architecture(**grid, observables=1, closure_dim=1)),
        make_model((4,), closure_dim=0, observables=1),
    ):
        with pytest.raises(TypeError, match="dense encoder"):
            _ = model.first_layer


@pytest.mark.parametrize("shape", SHAPES)
def test_save_and_load(tmp_path: Path, shape) -> None:
    path, states = tmp_path / "phi.safetensors", linear_data(shape, 50)
    model = make_model(shape)
    model.fit_scalers(states, torch.zeros(50, 0))
    save_autoencoder(path, model, {"seed": 1})
    loaded, provenance = load_autoencoder(path, Autoencoder)
    assert type(loaded) is Autoencoder
    assert provenance == {"seed": 1}
    assert loaded.architecture == model.architecture
    assert np.array_equal(loaded.encode_all(states), model.encode_all(states))
    with pytest.raises(ModelFileError, match=r"an autoencoder of coordinates, which .*Autoencoder"):
        load_autoencoder(path)


def test_states_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(6, 2\), got \(12,\)"):
        make_model((6, 2)).encode_all(np.zeros((3, 12)))


def b2_order(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A bcc alloy, half of each species: which sublattice the second one prefers, and the states.

    Shape of the states is [count, basis site, 3, 3, 3].
    """
    rng = np.random.default_rng(seed)
    order = rng.choice([-1, 1], size=count)
    odds = 0.5 + 0.3 * order[:, None] * np.array([1, -1])
    states = rng.random((count, 2, 3, 3, 3)) < odds[..., None, None, None]
    return order, states.astype(np.uint8)


@pytest.mark.parametrize("encoder", ["pooled", "strided", "dense"])
def test_two_channels_show_a_staggered_order_that_one_does_not(encoder: EncoderKind) -> None:
    """Sublattices exchange their roles under a change of the order's sign, and cells stay alike."""
    settings = ClosureSettings(
        dimension=1,
        encoder=encoder,
        channels=(8, 8),
        hidden=16,
        steps=200,
        batch=128,
        learning_rate=5e-3,
    )
    _, states = b2_order(2000, seed=0)
    fresh_order, fresh = b2_order(500, seed=1)

    def seen(view, species: int) -> float:
        """Correlation of the closure variable with the order."""
        alone = np.arange(len(states))
        model, _ = train_closure(
            view(states),
            np.zeros((len(states), 1)),
            settings,
            kind="species",
            species=species,
            groups=alone,
            snapshots=alone,
        )
        closure = model.encode_patches(view(fresh))[:, 0]
        return abs(float(np.corrcoef(closure, fresh_order)[0, 1]))

    assert seen(lambda x: x, 2) > 0.9
    # How many atoms of the second species a cell holds: 0, 1 or 2.
    assert seen(lambda x: x.sum(axis=1, keepdims=True, dtype=np.uint8), 3) < 0.15
