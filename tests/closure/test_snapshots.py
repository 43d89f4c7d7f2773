"""Closure variables of whole states, and increments that are K times what a patch changes."""

from __future__ import annotations

import numpy as np
import pytest

from macrodyn.closure import snapshots as module
from macrodyn.closure.layers import Architecture
from macrodyn.closure.model import PatchAutoencoder
from macrodyn.closure.snapshots import (
    EvolvedPatches,
    encode_increments,
    encode_states,
    origin_share,
)
from macrodyn.lattice import PatchGeometry, Tiling, scatter

CASES = [
    pytest.param((6,), (24,), True, id="ring"),
    pytest.param((6,), (24,), False, id="line"),
    pytest.param((6, 4), (12, 12), True, id="2d"),
    pytest.param((6, 4), (12, 12), False, id="2d-ends"),
    pytest.param((4, 2), (8, 2), True, id="fills an axis"),
    pytest.param((3, 4), (6, 8), True, id="terms as wide as the lattice"),
    pytest.param((4, 4, 2), (8, 4, 4), True, id="3d"),
]


def make_model(patch, encoder="pooled", **change) -> PatchAutoencoder:
    fields = {
        "kind": "spin",
        "patch": patch,
        "state_channels": 2,
        "observables": 0,
        "closure_dim": 3,
        "channels": (4, 5),
        "encoder": encoder,
    }
    model = PatchAutoencoder(Architecture(**(fields | change)), seed=1).eval()
    model.closure_shift += 0.3
    model.closure_scale *= 0.1
    return model


def spins(lattice, batch=3, seed=0):
    rng = np.random.default_rng(seed)
    return np.where(rng.random((batch, 2, *lattice)) < 0.4, 1, -1).astype(np.int8)


def test_closure_of_a_state_is_the_mean_of_its_local_terms() -> None:
    """Site by site: a term reads five sites along each axis, two on either side."""
    model, states = make_model((6, 5)), spins((6, 10))
    assert model.reach == (4, 4)
    terms = [
        model.local_sums(np.roll(states, (2 - i, 2 - j), (2, 3))[:, :, :5, :5])
        for i in range(6)
        for j in range(10)
    ]
    assert terms[0].shape == (3, 3)
    found = encode_states(model, states, periodic=True)
    np.testing.assert_allclose(found, np.mean(terms, axis=0), atol=1e-5)


def test_local_terms_of_a_patch_are_what_its_encoder_averages() -> None:
    model, patches = make_model((7, 9)), spins((7, 9))
    means = model.local_sums(patches) / 15
    np.testing.assert_allclose(means, model.encode_patches(patches), atol=1e-5)


@pytest.mark.parametrize("shift", [(1, 0), (3, 5), (0, 2)])
def test_pooled_closure_knows_no_origin(shift) -> None:
    model, states = make_model((6, 4)), spins((12, 12))
    shifted = np.roll(states, shift, (2, 3))
    here, there = (encode_states(model, x, periodic=True) for x in (states, shifted))
    np.testing.assert_allclose(here, there, atol=1e-5)
    assert np.ptp(here, axis=0).min() > 1e-3


@pytest.mark.parametrize(
    ("patch", "lattice"), [((6,), (18,)), ((4, 3), (8, 9)), ((4, 4, 2), (8, 4, 4))]
)
def test_pooled_closure_of_several_species_channels(patch, lattice) -> None:
    """It knows no origin, tells the channels apart, and grows by K times a patch's changes."""
    model = make_model(patch, kind="species", species=3)
    rng = np.random.default_rng(6)
    states, moved = (
        rng.choice(3, size=(count, 2, *sides), p=(0.5, 0.3, 0.2)).astype(np.uint8)
        for count, sides in ((3, lattice), (12, patch))
    )
    here = encode_states(model, states, periodic=True)
    for shift in (1, 2):
        shifted = np.roll(states, (shift,) * len(lattice), tuple(range(2, states.ndim)))
        np.testing.assert_allclose(encode_states(model, shifted, periodic=True), here, atol=1e-5)
    assert np.abs(encode_states(model, states[:, ::-1], periodic=True) - here).max() > 1e-2
    origins = Tiling(lattice, patch).origins()
    chosen = np.stack([origins[[0, -1]]] * 3)
    moved = moved.reshape(3, 2, 2, 2, *patch)
    part = EvolvedPatches(states, True, PatchGeometry(patch, 1, 0, "frozen"), chosen, moved)
    found = encode_increments(model, part)
    for sample, number, lag in np.ndindex(3, 2, 2):
        after = encode_states(model, replaced(part, sample, number, lag), periodic=True)[0]
        expected = len(origins) * (after - here[sample])
        np.testing.assert_allclose(found[sample, number, lag], expected, atol=1e-4)
    assert np.abs(found).max() > 0.05


def test_closure_means_the_same_at_every_size() -> None:
    model, small = make_model((6, 4)), spins((6, 4))
    large = np.tile(small, (1, 1, 3, 2))
    one, several = (encode_states(model, x, periodic=True) for x in (small, large))
    np.testing.assert_allclose(one, several, atol=1e-5)


def test_beyond_an_end_stands_the_last_site() -> None:
    model, states = make_model((6,)), spins((24,))
    padded = np.pad(states, ((0, 0), (0, 0), (2, 2)), mode="edge")
    expected = model.local_sums(padded) / 24
    found = encode_states(model, states, periodic=False)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - encode_states(model, states, periodic=True)).max() > 1e-2


@pytest.mark.parametrize("periodic", [True, False])
def test_large_lattices_are_read_in_pieces(monkeypatch, periodic) -> None:
    model, states = make_model((6, 4)), spins((12, 12))
    whole = encode_states(model, states, periodic=periodic)
    monkeypatch.setattr(module, "_PIECE", 100)
    monkeypatch.setattr(module, "_SITES", 300)
    done = []
    pieces = encode_states(
        model, states, periodic=periodic, progress=lambda *numbers: done.append(numbers)
    )
    np.testing.assert_allclose(pieces, whole, atol=1e-6)
    assert done == [(1, 3), (2, 3), (3, 3)]


def evolved(patch, lattice, periodic, buffer=0, boundary="frozen", **what):
    """Two patches of each state, replaced by other spins at two lags."""
    geometry = PatchGeometry(patch, 1, buffer, boundary)
    states = spins(lattice)
    origins = Tiling(lattice, patch).origins()
    chosen = np.stack([origins[[0, -1]], origins[[-1, 0]], origins[[1, 0]]])
    moved = spins(geometry.active, batch=3 * 2 * 2, seed=5)
    moved = moved.reshape(3, 2, 2, 2, *geometry.active)
    return EvolvedPatches(states, periodic, geometry, chosen, moved)


def replaced(part, sample, number, lag):
    state = part.states[[sample]].copy()
    block = part.moved[sample, number, lag][None, None]
    scatter(state, part.origins[sample, number][None], block, part.periodic)
    return state


@pytest.mark.parametrize(("patch", "lattice", "periodic"), CASES)
def test_increments_are_k_times_what_a_patch_changes_of_the_whole(patch, lattice, periodic) -> None:
    model, part = make_model(patch), evolved(patch, lattice, periodic)
    found = encode_increments(model, part)
    assert found.shape == (3, 2, 2, 3)
    k = Tiling(lattice, patch).number
    before = encode_states(model, part.states, periodic=periodic)
    for sample, number, lag in np.ndindex(3, 2, 2):
        after = encode_states(model, replaced(part, sample, number, lag), periodic=periodic)[0]
        expected = k * (after - before[sample])
        np.testing.assert_allclose(found[sample, number, lag], expected, atol=1e-4)
    assert np.abs(found).max() > 0.05


def test_increments_do_not_depend_on_the_chunks(monkeypatch) -> None:
    model, part = make_model((6, 4)), evolved((6, 4), (12, 12), True, buffer=1)
    expected = encode_increments(model, part)
    monkeypatch.setattr(module, "_SITES", 1)
    np.testing.assert_allclose(encode_increments(model, part), expected, atol=1e-6)


@pytest.mark.parametrize("periodic", [True, False])
def test_increments_beside_buffers_telescope_where_terms_see_one_neighbour(periodic) -> None:
    """Of two whole states: the shares of all patches add up, as every term reads two patches."""
    model = make_model((4,), channels=(4,))
    assert model.reach == (2,)
    geometry, before, after = PatchGeometry((4,), 1, 3), spins((16,)), spins((16,), seed=9)
    origins = Tiling((16,), (4,)).origins()
    sites = origins + np.arange(-3, 7)
    sites = sites % 16 if periodic else np.clip(sites, 0, 15)
    moved = np.moveaxis(after[:, :, sites], 2, 1)[:, :, None]
    part = EvolvedPatches(before, periodic, geometry, np.tile(origins, (3, 1, 1)), moved)
    found = encode_increments(model, part)[:, :, 0].mean(axis=1)
    old, new = (encode_states(model, x, periodic=periodic) for x in (before, after))
    np.testing.assert_allclose(found, new - old, atol=1e-4)


def test_moves_of_a_buffer_alone_count_for_nothing() -> None:
    model, part = make_model((6, 4)), evolved((6, 4), (12, 12), True, buffer=2)
    for sample, number in np.ndindex(3, 2):
        start = part.origins[sample, number]
        still = np.roll(part.states[sample], tuple(-start), (1, 2))[:, :6, :4]
        part.moved[sample, number, :, :, 2:-2, 2:-2] = still
    np.testing.assert_allclose(encode_increments(model, part), 0, atol=1e-4)


@pytest.mark.parametrize(
    ("encoder", "boundary", "buffer"),
    [
        ("pooled", "periodic", 0),
        ("strided", "frozen", 0),
        ("strided", "frozen", 1),
        ("dense", "frozen", 1),
    ],
)
def test_increments_of_patches_of_their_own(encoder, boundary, buffer) -> None:
    """A periodic patch is a system of its own; other encoders read a patch alone."""
    model = make_model((6, 4), encoder)
    part = evolved((6, 4), (12, 12), True, buffer, boundary)
    found = encode_increments(model, part)
    start = tuple(-part.origins[1, 0])
    before = np.roll(part.states[1], start, (1, 2))[None, :, :6, :4]
    after = part.moved[1, 0, 1][None, :, buffer : buffer + 6, buffer : buffer + 4]
    old, new = (encode_states(model, x, periodic=True)[0] for x in (before, after))
    np.testing.assert_allclose(found[1, 0, 1], new - old, atol=1e-5)
    if encoder != "pooled":
        np.testing.assert_allclose(old, model.encode_patches(before)[0], atol=1e-6)


def test_without_closure_variables_there_is_nothing() -> None:
    model = make_model((6, 4), closure_dim=0, observables=1)
    assert encode_states(model, spins((12, 12)), periodic=True).shape == (3, 0)
    assert encode_increments(model, evolved((6, 4), (12, 12), True)).shape == (3, 2, 2, 0)


def test_share_of_the_origin() -> None:
    states, rng = spins((12, 12), batch=40), np.random.default_rng(3)
    strided = origin_share(make_model((6, 4), "strided"), states, periodic=True, rng=rng)
    pooled = origin_share(make_model((6, 4)), states, periodic=True, rng=rng)
    assert strided is not None and pooled is not None
    # Random spins, of which a patch's encoder makes random numbers: the origin is all there is.
    assert 0.5 < min(strided) and max(strided) < 2
    assert max(pooled) < 1e-6
    assert origin_share(make_model((6, 4)), states, periodic=False, rng=rng) is None
    assert origin_share(make_model((6, 4)), states[:1], periodic=True, rng=rng) is None


def test_share_of_the_origin_is_that_of_its_variance(monkeypatch) -> None:
    """Of z = (first site of the tiling) + 2 (mean spin), whose variances are known."""
    n, rng = 100, np.random.default_rng(4)
    states = np.where(rng.random((4000, 2, n)) < 0.5, 1, -1).astype(np.int8)

    def encode(model, x, *, periodic):
        return x[:, :1, 0] / np.sqrt(n) + 2 * x[:, :1].mean(axis=2)

    monkeypatch.setattr(module, "encode_states", encode)
    (share,) = origin_share(make_model((50,)), states, periodic=True, rng=rng) or [0.0]
    # Var(within) = 1/n (less by 1/50, as origins repeat), Var(all) = 1/n + 4/n + 4/n^1.5.
    assert share == pytest.approx(0.98 / (5 + 4 / np.sqrt(n)), rel=0.05)


@pytest.mark.parametrize("buffer", [0, 2])
@pytest.mark.parametrize("periodic", [True, False])
def test_what_is_added_to_patches_is_added_where_they_stand(buffer, periodic) -> None:
    rng = np.random.default_rng(5)
    states = rng.random((3, 2, 24)).astype(np.float32)
    geometry = PatchGeometry((6,), buffer=buffer)
    origins = rng.choice([0, 6, 12, 18], (3, 2))[:, :, None]
    moved = np.zeros((3, 2, 1, 2, *geometry.active), np.float32)
    evolved = EvolvedPatches(states, periodic, geometry, origins, moved)
    change = rng.random(moved.shape)
    shifted = evolved.shifted(change)
    inner = slice(buffer, buffer + 6)
    np.testing.assert_array_equal(evolved.shifted(0.0 * change).after[:, :, 0], evolved.before)
    added = shifted.after[:, :, 0] - evolved.before
    np.testing.assert_allclose(added, change[:, :, 0, :, inner], atol=1e-6)
    assert shifted.moved.dtype == np.float32
