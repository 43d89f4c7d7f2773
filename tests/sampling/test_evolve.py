"""Pairs before and after a short time: shapes, meaning, streams."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from macrodyn.lattice import PatchGeometry, Tiling, gather_each, scatter, split
from macrodyn.sampling.cost import Cost
from macrodyn.sampling.evolve import evolve_patches, evolve_whole
from macrodyn.streams import seeds

LATTICE, PATCH, K = (60, 48), (20, 12), 12
GEOMETRIES = {
    "frozen": PatchGeometry(PATCH),
    "buffer": PatchGeometry(PATCH, buffer=2),
    "periodic": PatchGeometry(PATCH, 0, 0, "periodic"),
}


@pytest.fixture(scope="module")
def snapshots(make_ising):
    start = make_ising().initial_states(np.linspace(-0.8, 0.8, 9), LATTICE, seeds(1, "s", index=9))
    return make_ising().evolve(start, 2.0, seeds(2, "s", index=9))


def run(system, states, geometry, keys=None, cost=None, **changes):
    settings = {"number": 4, "dt": 0.25, "lags": (1, 2, 4), **changes}
    keys = seeds(3, "evolve", index=len(states)) if keys is None else keys
    return evolve_patches(system, states, geometry, keys=keys, cost=cost or Cost(), **settings)


def patch_numbers(states, before):
    """Which patch of the tiling each ``before`` is: [sample, patch]."""
    parts = split(states, before.shape[3:])
    same = (parts[:, None] == before[:, :, None]).all(axis=(3, 4, 5))
    assert (same.sum(axis=2) == 1).all()
    return same.argmax(axis=2)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_shapes_and_times_of_pairs(make_ising, snapshots, name):
    cost = Cost()
    pairs = run(make_ising(), snapshots, GEOMETRIES[name], cost=cost)
    assert pairs.before.shape == (9, 4, 1, *PATCH)
    assert pairs.after.shape == (9, 4, 3, 1, *PATCH)
    assert pairs.increments.shape == (9, 4, 3, 2)
    np.testing.assert_allclose(pairs.elapsed, np.broadcast_to([0.25, 0.5, 1.0], (9, 4, 3)))
    assert cost.site_updates == pytest.approx(36 * np.prod(GEOMETRIES[name].active))


@pytest.mark.parametrize("name", GEOMETRIES)
def test_patches_are_distinct_and_before_is_the_snapshot(make_ising, snapshots, name):
    pairs = run(make_ising(), snapshots, GEOMETRIES[name], number=K)
    numbers = patch_numbers(snapshots, pairs.before)
    np.testing.assert_array_equal(np.sort(numbers, axis=1), np.tile(np.arange(K), (9, 1)))


@pytest.mark.parametrize("name", GEOMETRIES)
def test_pairs_say_where_their_patches_are_and_what_has_moved(make_ising, snapshots, name):
    geometry = GEOMETRIES[name]
    pairs = run(make_ising(), snapshots, geometry)
    numbers = patch_numbers(snapshots, pairs.before)
    np.testing.assert_array_equal(pairs.origins, Tiling(LATTICE, PATCH).origins()[numbers])
    if not geometry.buffer:
        assert pairs.moved.shape == (9, 4, 3, 0, *PATCH)
        return
    assert pairs.moved.shape == (9, 4, 3, 1, *geometry.active)
    np.testing.assert_array_equal(pairs.moved[..., 2:-2, 2:-2], pairs.after)
    before = gather_each(snapshots, pairs.origins - 2, geometry.active)
    assert (pairs.moved != before[:, :, None])[..., :2, :].any(axis=(3, 4, 5)).mean() > 0.5


def test_every_patch_is_equally_likely(make_ising, snapshots):
    states = np.repeat(snapshots[:1], 3000, axis=0)
    pairs = run(make_ising(), states, GEOMETRIES["frozen"], number=2, dt=0.01, lags=(1,))
    numbers = patch_numbers(states, pairs.before)
    assert (numbers[:, 0] != numbers[:, 1]).all()
    pair_counts = np.bincount(numbers[:, 0] * K + numbers[:, 1], minlength=K * K)
    off_diagonal = ~np.eye(K, dtype=bool).ravel()
    assert stats.chisquare(pair_counts[off_diagonal]).pvalue > 1e-4


def test_more_patches_and_more_lags_add_to_the_same_ones(make_ising, snapshots):
    many = run(make_ising(), snapshots, GEOMETRIES["frozen"], number=6)
    few = run(make_ising(), snapshots, GEOMETRIES["frozen"], number=2, lags=(1, 2))
    np.testing.assert_array_equal(many.before[:, :2], few.before)
    np.testing.assert_array_equal(many.after[:, :2, :2], few.after)
    np.testing.assert_array_equal(many.increments[:, :2, :2], few.increments)


def test_increments_of_frozen_patches_are_k_times_the_wholes(make_ising, snapshots):
    # Nothing but the patch has moved: put it back and measure the whole.
    system = make_ising()
    pairs = run(system, snapshots, GEOMETRIES["frozen"], number=3)
    numbers = patch_numbers(snapshots, pairs.before)
    origins = Tiling(LATTICE, PATCH).origins()
    for sample, state in enumerate(snapshots):
        for j in range(3):
            for lag in range(3):
                moved = state[None].copy()
                scatter(
                    moved,
                    origins[numbers[sample, j]][None],
                    pairs.after[None, None, sample, j, lag],
                )
                change = system.observe(moved)[0] - system.observe(state[None])[0]
                np.testing.assert_allclose(pairs.increments[sample, j, lag], K * change, atol=1e-12)
    assert np.abs(pairs.increments).max() > 0.05


@pytest.mark.parametrize("name", ["buffer", "periodic"])
def test_increments_agree_with_the_states(make_ising, snapshots, name):
    system = make_ising()
    pairs = run(system, snapshots, GEOMETRIES[name])
    before = pairs.before.mean(axis=(2, 3, 4))[:, :, None]
    after = pairs.after.mean(axis=(3, 4, 5))
    np.testing.assert_allclose(pairs.increments[..., 0], after - before, atol=1e-13)
    if name == "periodic":
        flat_before = system.observe(pairs.before.reshape(-1, 1, *PATCH)).reshape(9, 4, 1, 2)
        flat_after = system.observe(pairs.after.reshape(-1, 1, *PATCH)).reshape(9, 4, 3, 2)
        np.testing.assert_allclose(pairs.increments, flat_after - flat_before, atol=1e-13)


def test_later_lags_continue_from_earlier_ones(make_ising, snapshots):
    pairs = run(make_ising(0.8, 0.0), snapshots, GEOMETRIES["frozen"], dt=0.02)
    moved = (pairs.after != pairs.before[:, :, None]).mean(axis=(0, 1, 3, 4, 5))
    between = (pairs.after[:, :, 1] != pairs.after[:, :, 0]).mean()
    assert moved[0] < moved[1] < moved[2]
    assert between < 1.5 * moved[0]


@pytest.mark.parametrize(
    ("name", "events"),
    [*((name, None) for name in GEOMETRIES), ("frozen", 30), ("periodic", 30)],
)
def test_result_does_not_depend_on_the_batch(make_ising, snapshots, name, events):
    keys = seeds(3, "evolve", index=9)
    whole = run(make_ising(), snapshots, GEOMETRIES[name], keys, events=events)
    for part in ([4], [8, 0, 3]):
        some = run(make_ising(), snapshots[part], GEOMETRIES[name], keys[part], events=events)
        for field, expected in vars(whole).items():
            np.testing.assert_array_equal(getattr(some, field), expected[part])


def test_patches_of_a_snapshot_evolve_with_their_own_streams(make_ising):
    states = np.ones((1, 1, *LATTICE), dtype=np.int8)
    pairs = run(make_ising(), states, GEOMETRIES["frozen"], number=K, dt=2.0)
    assert len({after.tobytes() for after in pairs.after[0, :, 0]}) == K


def test_pairs_after_events_have_random_times(make_ising, snapshots):
    cost = Cost()
    pairs = run(make_ising(), snapshots, GEOMETRIES["periodic"], cost=cost, events=240)
    assert (np.diff(pairs.elapsed, axis=2) > 0).all()
    assert len(np.unique(pairs.elapsed)) == pairs.elapsed.size
    # 4 x 240 flips of 240 sites, a few per cent to a half of which flip in a unit of time.
    assert 5 < pairs.elapsed[..., 2].mean() < 100
    assert pairs.elapsed[..., 2].mean() == pytest.approx(4 * pairs.elapsed[..., 0].mean(), rel=0.3)
    assert cost.site_updates == pytest.approx(240 * pairs.elapsed[..., 2].sum())
    changed = (pairs.after != pairs.before[:, :, None]).sum(axis=(3, 4, 5))
    assert (changed % 2 == 0).all() and (changed > 0).all()


def test_events_of_a_buffer_are_not_taken_for_the_patchs(make_ising, snapshots):
    with pytest.raises(ValueError, match=r"set evolve\.buffer to 0, or evolve\.stop to time"):
        run(make_ising(), snapshots, GEOMETRIES["buffer"], events=30)


@pytest.mark.parametrize(
    "geometry",
    [
        pytest.param(PatchGeometry((60, 12)), id="a patch that fills an axis"),
        pytest.param(PatchGeometry((30, 24), buffer=15), id="a buffer up to the other edge"),
        pytest.param(PatchGeometry((30, 24), halo=13), id="a halo up to the other halo"),
    ],
)
def test_windows_that_would_overlap_themselves_are_refused(make_ising, snapshots, geometry):
    with pytest.raises(ValueError, match=r"than the lattice \((60|48)\) .* overlap itself"):
        run(make_ising(), snapshots, geometry, number=2)


def test_whole_systems_have_exact_increments(make_ising, snapshots):
    system, cost, keys = make_ising(), Cost(), seeds(3, "whole", index=9)
    pairs = evolve_whole(system, snapshots, dt=0.5, lags=(1, 3), keys=keys, cost=cost)
    assert pairs.before.shape == (9, 1, 1, *LATTICE)
    assert pairs.after.shape == (9, 1, 2, 1, *LATTICE)
    np.testing.assert_array_equal(pairs.before[:, 0], snapshots)
    np.testing.assert_allclose(pairs.elapsed, np.broadcast_to([0.5, 1.5], (9, 1, 2)))
    for lag in range(2):
        change = system.observe(pairs.after[:, 0, lag]) - system.observe(snapshots)
        np.testing.assert_array_equal(pairs.increments[:, 0, lag], change)
    assert cost.site_updates == pytest.approx(9 * np.prod(LATTICE) * 1.5)
    some = evolve_whole(system, snapshots[[5]], dt=0.5, lags=(1, 3), keys=keys[[5]], cost=cost)
    np.testing.assert_array_equal(some.after, pairs.after[[5]])


def test_lags_of_a_deterministic_system_accumulate_exactly(make_clock):
    states = np.zeros((2, 1, 12))
    pairs = run(make_clock(1), states, PatchGeometry((3,), buffer=1), number=4, lags=(1, 2, 4))
    np.testing.assert_allclose(pairs.increments[..., 0], pairs.elapsed)
    np.testing.assert_allclose(pairs.after[..., 0, 0], pairs.elapsed)
