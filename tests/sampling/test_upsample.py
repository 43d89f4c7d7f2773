"""Upsampling: what tiles and blocks are made of, and the levels in between."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from macrodyn.lattice import PatchGeometry, split
from macrodyn.sampling.cost import Cost
from macrodyn.sampling.relax import Relaxation
from macrodyn.sampling.upsample import replicate, tile, upsample_pools
from macrodyn.streams import seeds

SHAPES = [((4,), (12,)), ((20, 12), (60, 48)), ((3, 5), (6, 5)), ((2, 3, 2), (4, 3, 6))]


def identified(members, shape, channels=2):
    """A pool whose every entry names its member, channel and site."""
    n = members * channels * int(np.prod(shape))
    return np.arange(n).reshape(members, channels, *shape)


@pytest.mark.parametrize(("small", "large"), SHAPES, ids=str)
def test_tiles_are_whole_shifted_members(small, large):
    number = 2
    count = int(np.prod(large) // np.prod(small))
    pool = identified(number * count + 3, small)
    states = tile(pool, large, number, np.random.default_rng(1))
    assert states.shape == (number, 2, *large) and states.dtype == pool.dtype
    pieces = split(states, small).reshape(-1, 2, *small)
    size = 2 * int(np.prod(small))
    used, shifts = [], []
    for piece in pieces:
        member = int(piece.min()) // size
        origin = np.argwhere(piece[0] == pool[member].flat[0])[0]
        back = np.roll(piece, tuple(-origin), tuple(range(1, piece.ndim)))
        np.testing.assert_array_equal(back, pool[member])
        used.append(member)
        shifts.append(tuple(origin))
    assert len(set(used)) == len(used)
    assert len(set(shifts)) > 1


def test_small_pools_are_used_up_before_any_member_comes_again():
    pool = identified(5, (2, 2), 1)
    states = tile(pool, (6, 8), 1, np.random.default_rng(1))
    members = split(states, (2, 2))[0].reshape(12, -1).min(axis=1) // 4
    counts = np.bincount(members, minlength=5)
    assert counts.sum() == 12 and counts.min() >= 2 and counts.max() <= 3


def test_all_shifts_and_members_are_equally_likely():
    pool = identified(30, (3, 4), 1)
    rng = np.random.default_rng(5)
    pieces = np.concatenate(
        [split(tile(pool, (6, 8), 3, rng), (3, 4)).reshape(-1, 12) for _ in range(1500)]
    )
    # Entry 0 of a piece is a site of its member, and all sites of all members are alike.
    assert stats.chisquare(np.bincount(pieces[:, 0], minlength=360)).pvalue > 1e-4


def test_tiles_of_independent_spins_are_independent_spins(make_ising):
    # Seams included: number of up spins binomial, unlike bonds with the iid mean and variance.
    system, n, up = make_ising(), 3000, 0.65
    pool = system.initial_states(np.full(6 * n, 2 * up - 1), (4, 6), seeds(1, "p", index=6 * n))
    states = tile(pool, (8, 18), n, np.random.default_rng(1))
    m, rho = system.observe(states).T
    ups = np.rint((m + 1) / 2 * 144).astype(int)
    law = stats.binom.pmf(np.arange(145), 144, up) * n
    keep = law > 5
    statistic = ((np.bincount(ups, minlength=145) - law)[keep] ** 2 / law[keep]).sum()
    assert stats.chi2.sf(statistic, keep.sum() - 1) > 1e-4
    direct = system.observe(
        system.initial_states(np.full(n, 2 * up - 1), (8, 18), seeds(2, "p", index=n))
    )[:, 1]
    assert abs(rho.mean() - 2 * up * (1 - up)) < 5 * rho.std() / np.sqrt(n)
    assert stats.ks_2samp(rho, direct).pvalue > 1e-4


@pytest.mark.parametrize(("small", "large"), SHAPES, ids=str)
def test_replicate_makes_blocks_of_equal_sites(small, large):
    pool = identified(4, small)
    states = replicate(pool, large, 4, np.random.default_rng(1))
    counts = tuple(n // s for n, s in zip(large, small, strict=True))
    expected = np.kron(pool, np.ones((1, 1, *counts), dtype=int))
    order = np.argsort(states.reshape(4, -1).min(axis=1))
    np.testing.assert_array_equal(states[order], expected)


def levels_of(system, pools, shape, **changes):
    settings = {
        "method": "tile",
        "number": 2,
        "patch": PatchGeometry(pools.shape[3:]),
        "relaxation": Relaxation(0.6, 0.3),
        "seed": 7,
        "names": [(g, 3) for g in range(len(pools))],
        "cost": Cost(),
    }
    return list(upsample_pools(system, pools, shape, **{**settings, **changes}))


@pytest.fixture(scope="module")
def pools(make_ising):
    spins = make_ising().initial_states(np.full(60, 0.1), (20, 12), seeds(1, "q", index=60))
    return spins.reshape(3, 20, 1, 20, 12)


@pytest.mark.parametrize("method", ["tile", "replicate"])
def test_levels_lead_to_the_large_lattice(make_ising, pools, method):
    levels = levels_of(make_ising(), pools, (60, 48), method=method)
    assert [level.shape for level in levels] == [(60, 24), (60, 48)]
    # 2 large snapshots need 4 of the level below; a replicated one needs one.
    assert [level.raw.shape[1] for level in levels] == ([4, 2] if method == "tile" else [2, 2])
    for level in levels:
        assert level.raw.shape == level.relaxed.shape
        assert level.raw.shape[3:] == level.shape
        assert level.relaxed.dtype == np.int8
        assert np.mean(level.raw != level.relaxed) > 0.02


def test_next_level_is_made_of_relaxed_states(make_ising, pools):
    first, second = levels_of(make_ising(), pools, (60, 48))
    for pool in range(3):
        sums = first.relaxed[pool].sum(axis=(1, 2, 3), dtype=int)
        pieces = split(second.raw[pool], (60, 24)).sum(axis=(2, 3, 4), dtype=int)
        assert sorted(pieces.ravel()) == sorted(sums)


def test_unrelaxed_levels_are_raw(make_ising, pools):
    for level in levels_of(make_ising(), pools, (60, 48), relaxation=Relaxation(0.0, 0.5)):
        np.testing.assert_array_equal(level.raw, level.relaxed)


def test_nothing_to_do_gives_no_level(make_ising, pools):
    assert levels_of(make_ising(), pools, (20, 12)) == []


@pytest.mark.parametrize("method", ["tile", "replicate"])
def test_a_pool_does_not_depend_on_the_others(make_ising, pools, method):
    together = levels_of(make_ising(), pools, (60, 48), method=method)
    alone = levels_of(make_ising(), pools[[2, 0]], (60, 48), method=method, names=[(2, 3), (0, 3)])
    for all_pools, some in zip(together, alone, strict=True):
        np.testing.assert_array_equal(all_pools.raw[[2, 0]], some.raw)
        np.testing.assert_array_equal(all_pools.relaxed[[2, 0]], some.relaxed)


def test_groups_times_and_seeds_have_their_own_streams(make_ising, pools):
    same = np.repeat(pools[:1], 3, axis=0)
    levels = levels_of(make_ising(), same, (60, 48), names=[(0, 3), (0, 4), (1, 3)])
    other = levels_of(make_ising(), same[:1], (60, 48), names=[(0, 3)], seed=8)
    states = [*levels[-1].relaxed[:, 0], other[-1].relaxed[0, 0]]
    assert len({state.tobytes() for state in states}) == 4


def test_relaxed_equilibrium_has_the_domain_walls_of_direct_simulation(make_ising):
    system, n, large = make_ising(3.0, 0.0), 512, (64, 64)
    start = system.initial_states(np.zeros(n), (8, 8), seeds(1, "small", index=n))
    small = system.evolve(start, 60.0, seeds(2, "small", index=n))[None]
    settings = {"number": 8, "names": [(0, 0)]}
    raw = levels_of(system, small, large, relaxation=Relaxation(0.0, 0.5), **settings)[-1]
    healed = levels_of(system, small, large, relaxation=Relaxation(8.0, 0.5), **settings)[-1]
    start = system.initial_states(np.zeros(24), large, seeds(3, "large", index=24))
    direct = system.observe(system.evolve(start, 60.0, seeds(4, "large", index=24)))[:, 1]
    tiled, relaxed = (system.observe(level.relaxed[0])[:, 1] for level in (raw, healed))
    seams = tiled.mean() - direct.mean()
    error = np.hypot(direct.std() / np.sqrt(24), relaxed.std(ddof=1) / np.sqrt(8))
    assert seams > 6 * error
    assert abs(relaxed.mean() - direct.mean()) < 4 * error
