"""Geometry of the networks: any dimension, odd and unequal sides."""

from __future__ import annotations

import pytest
import torch

from macrodyn.closure.layers import ENCODER_KINDS, Architecture, _Interleave, strided_sizes
from macrodyn.closure.model import PatchAutoencoder

PATCHES = [
    (1,),
    (7,),
    (40,),
    (1, 1),
    (2, 3),
    (5, 7),
    (8, 8),
    (20, 12),
    (33, 5),
    (64, 64),
    (3, 3, 3),
    (5, 4, 9),
    (12, 8, 10),
]


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: "x".join(map(str, patch)))
@pytest.mark.parametrize("encoder", ENCODER_KINDS)
@pytest.mark.parametrize("closure_dim", [0, 3])
def test_shapes_for_any_patch(patch: tuple[int, ...], encoder, closure_dim: int) -> None:
    model = PatchAutoencoder(
        Architecture(
            kind="spin",
            patch=patch,
            state_channels=2,
            observables=2,
            closure_dim=closure_dim,
            encoder=encoder,
            channels=(4, 6),
            hidden=8,
        )
    )
    states = torch.ones(3, 2, *patch, dtype=torch.int8)
    closure = model.encode(states)
    assert closure.shape == (3, closure_dim)
    assert model.decode(torch.zeros(3, 2), closure).shape == states.shape
    model.loss(states, torch.zeros(3, 2)).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("patch", [(7,), (8, 6), (5, 4, 4)], ids=["1d", "2d", "3d"])
@pytest.mark.parametrize("encoder", ENCODER_KINDS)
def test_shapes_of_several_species_channels(patch: tuple[int, ...], encoder) -> None:
    """Each species of each channel is a channel of the input and of the logits."""
    model = PatchAutoencoder(
        Architecture(
            kind="species",
            patch=patch,
            state_channels=2,
            species=3,
            observables=1,
            closure_dim=2,
            encoder=encoder,
            channels=(4, 6),
        )
    )
    states = torch.randint(0, 3, (5, 2, *patch), generator=torch.Generator().manual_seed(0))
    given = torch.zeros(5, 1)
    assert model(states, given).shape == (5, 6, *patch)
    changed = states.clone()
    changed[:, 1] = (states[:, 1] + 1) % 3
    assert not torch.equal(model.encode(states), model.encode(changed))
    model.loss(states, given).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: "x".join(map(str, patch)))
@pytest.mark.parametrize("encoder", ["strided", "dense"])
def test_every_site_reaches_the_encoders_of_all_sites(patch: tuple[int, ...], encoder) -> None:
    model = PatchAutoencoder(
        Architecture(
            kind="field",
            patch=patch,
            state_channels=1,
            observables=0,
            closure_dim=1,
            encoder=encoder,
            channels=(4, 6),
        )
    )
    # Of one state a unit that is off hides the sites it sees; of many states it is not always off.
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(32, 1, *patch, generator=generator).requires_grad_()
    model.encode(states).sum().backward()
    assert states.grad is not None
    assert bool((states.grad != 0).any(0).all())


@pytest.mark.parametrize(
    ("patch", "layers", "sizes"),
    [
        pytest.param((16, 16), 2, [(16, 16), (8, 8), (4, 4)], id="square"),
        pytest.param((20, 12), 2, [(20, 12), (10, 6), (5, 6)], id="unequal"),
        pytest.param((5, 7), 1, [(5, 7), (5, 4)], id="odd"),
        pytest.param((8,), 3, [(8,), (4,), (4,), (4,)], id="more-layers-than-halvings"),
        pytest.param((64,), 2, [(64,), (32,), (16,), (8,), (4,)], id="more-halvings"),
        pytest.param((3, 3, 3), 1, [(3, 3, 3), (3, 3, 3)], id="too-small-to-halve"),
    ],
)
def test_strided_sizes(patch, layers, sizes) -> None:
    assert strided_sizes(patch, layers) == sizes


def test_interleave_equals_pixel_shuffle() -> None:
    features = torch.randn(2, 12, 3, 5, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.pixel_shuffle(features, 2)
    assert torch.equal(_Interleave((2, 2), (6, 10))(features), expected)
    assert torch.equal(_Interleave((2, 2), (5, 9))(features), expected[..., :5, :9])


def test_initial_weights_follow_the_seed_and_leave_the_global_stream_alone() -> None:
    architecture = Architecture(
        kind="spin", patch=(6, 6), state_channels=1, observables=1, closure_dim=1
    )
    before = torch.random.get_rng_state()
    one, same, other = (PatchAutoencoder(architecture, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    weights = [model.encoder[0].weight for model in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    "change",
    [
        {"patch": ()},
        {"patch": (4, 4, 4, 4)},
        {"patch": (0, 4)},
        {"kind": "spins"},
        {"kind": "species", "species": 1},
        {"species": 3},
        {"encoder": "sparse"},
        {"kind": "coordinates", "patch": (2,)},
        {"kind": "coordinates", "encoder": "dense", "patch": (4, 4)},
        {"encoder": "dense", "patch": ()},
        {"channels": ()},
        {"closure_dim": 0, "observables": 0},
    ],
    ids=str,
)
def test_impossible_architectures_are_refused(change) -> None:
    fields = {
        "kind": "spin",
        "patch": (4, 4),
        "state_channels": 1,
        "observables": 1,
        "closure_dim": 1,
    }
    with pytest.raises(ValueError, match="bad"):
        Architecture(**(fields | change))
