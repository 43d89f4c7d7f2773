"""Tilings, windows, gather and scatter, in one, two and three dimensions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from macrodyn.lattice import (
    PatchGeometry,
    Tiling,
    fitting_origins,
    gather,
    gather_each,
    scatter,
    site_index,
    sites_outside,
    split,
    upsampling_levels,
)

LATTICES = [
    pytest.param((12,), (3,), id="1d"),
    pytest.param((15,), (5,), id="1d-odd"),
    pytest.param((60, 48), (20, 12), id="2d"),
    pytest.param((9, 10), (3, 2), id="2d-odd"),
    pytest.param((8, 12), (8, 3), id="2d-one-patch-along-an-axis"),
    pytest.param((4, 6, 9), (2, 3, 3), id="3d"),
    pytest.param((3, 5, 2), (1, 1, 1), id="3d-single-sites"),
    pytest.param((6, 4), (6, 4), id="one-patch"),
]


def numbered(lattice: tuple[int, ...], batch: int = 2, channels: int = 3) -> np.ndarray:
    """States whose every entry is different."""
    shape = (batch, channels, *lattice)
    return np.arange(np.prod(shape)).reshape(shape)


@pytest.mark.parametrize(("lattice", "patch"), LATTICES)
@pytest.mark.parametrize("shifted", [False, True], ids=["tiling", "shifted"])
def test_patches_cover_every_site_once(lattice, patch, shifted):
    tiling = Tiling(lattice, patch)
    offset = tuple(7 + a for a in range(len(lattice))) if shifted else None
    sites = site_index(lattice, tiling.origins(offset), patch)
    assert tiling.number == np.prod(tiling.counts) == len(sites)
    assert sorted(sites.ravel()) == list(range(np.prod(lattice)))


@pytest.mark.parametrize(("lattice", "patch"), LATTICES)
def test_gather_then_scatter_gives_the_states_back(lattice, patch):
    states = numbered(lattice)
    tiling = Tiling(lattice, patch)
    origins = tiling.origins(tuple(p // 2 for p in patch))
    blocks = gather(states, origins, patch)
    assert blocks.shape == (2, tiling.number, 3, *patch)
    rebuilt = np.full_like(states, -1)
    scatter(rebuilt, origins, blocks)
    np.testing.assert_array_equal(rebuilt, states)


@pytest.mark.parametrize(("lattice", "patch"), LATTICES)
def test_windows_are_blocks_of_the_rolled_lattice(lattice, patch):
    states = numbered(lattice)
    geometry = PatchGeometry(patch, halo=1, buffer=0)
    origins = Tiling(lattice, patch).origins()
    windows = gather(states, origins - geometry.margin, geometry.window)
    axes = tuple(range(2, states.ndim))
    pads = [(0, 0), (0, 0), *((1, 1) for _ in lattice)]
    for window, origin in zip(windows.swapaxes(0, 1), origins, strict=True):
        rolled = np.roll(states, tuple(-origin), axes)[(..., *(slice(p) for p in patch))]
        np.testing.assert_array_equal(geometry.cut(window), rolled)
        whole = np.pad(states, pads, mode="wrap")
        cut = tuple(slice(o, o + w) for o, w in zip(origin, geometry.window, strict=True))
        np.testing.assert_array_equal(window, whole[(..., *cut)])


def test_halo_of_a_corner_patch_wraps_around():
    states = np.arange(16).reshape(1, 1, 4, 4)
    window = gather(states, np.array([[-1, -1]]), (4, 4))[0, 0, 0]
    expected = [[15, 12, 13, 14], [3, 0, 1, 2], [7, 4, 5, 6], [11, 8, 9, 10]]
    np.testing.assert_array_equal(window, expected)


def test_window_larger_than_the_lattice_wraps_repeatedly():
    index = site_index((3,), np.array([[-2]]), (8,))
    np.testing.assert_array_equal(index, [[1, 2, 0, 1, 2, 0, 1, 2]])


@pytest.mark.parametrize(("lattice", "patch"), LATTICES)
def test_gather_each_takes_each_states_own_blocks(lattice, patch):
    states = numbered(lattice, batch=3)
    rng = np.random.default_rng(0)
    origins = rng.integers(-20, 20, size=(3, 4, len(lattice)))
    blocks = gather_each(states, origins, patch)
    assert blocks.shape == (3, 4, 3, *patch)
    for b in range(3):
        np.testing.assert_array_equal(blocks[b], gather(states[b : b + 1], origins[b], patch)[0])


def test_split_is_the_row_major_tiling():
    states = numbered((4, 6), batch=1, channels=1)
    blocks = split(states, (2, 3))
    assert blocks.shape == (1, 4, 1, 2, 3)
    np.testing.assert_array_equal(blocks[0, 1, 0], states[0, 0, :2, 3:])
    np.testing.assert_array_equal(blocks[0, 2, 0], states[0, 0, 2:, :3])


def test_scatter_refuses_states_it_could_only_copy():
    states = numbered((4, 6)).swapaxes(2, 3)
    blocks = gather(states, np.array([[0, 0]]), (2, 2))
    with pytest.raises(ValueError, match="C-contiguous"):
        scatter(states, np.array([[0, 0]]), blocks)


@pytest.mark.parametrize(
    ("lattice", "patch"),
    [
        *LATTICES,
        pytest.param((10,), (2,), id="1d-five"),
        pytest.param((6, 10), (2, 2), id="2d-three-by-five"),
        pytest.param((4, 4), (2, 2), id="2d-two-by-two"),
        pytest.param((6, 6, 10), (2, 3, 2), id="3d-three-two-five"),
    ],
)
def test_patches_of_one_colour_do_not_touch(lattice, patch):
    tiling = Tiling(lattice, patch)
    origins = tiling.origins()
    sites = [set(s.ravel()) for s in site_index(lattice, origins, patch)]
    rim = tuple(p + 2 for p in patch)
    with_rim = [set(s.ravel()) for s in site_index(lattice, origins - 1, rim)]
    colours = list(tiling.colours())
    assert sorted(np.concatenate(colours)) == list(range(tiling.number))
    assert len(colours) <= 3 ** len(lattice)
    for colour in colours:
        for i in colour:
            for j in colour:
                assert i == j or not (with_rim[i] & sites[j])


@pytest.mark.parametrize(("lattice", "patch"), LATTICES)
def test_offsets_move_every_edge_into_a_patch(lattice, patch):
    offsets = Tiling(lattice, patch).overlapping_offsets()
    several = [n > p for n, p in zip(lattice, patch, strict=True)]
    assert len(offsets) == 2 ** sum(several)
    assert offsets[0] == (0,) * len(lattice)
    if any(several):
        half = tuple(p // 2 if s else 0 for p, s in zip(patch, several, strict=True))
        assert offsets[1] == half
    if all(p > 1 for p in patch):
        assert len(set(offsets)) == len(offsets)


@pytest.mark.parametrize(
    ("small", "large", "levels"),
    [
        ((20, 12), (60, 48), [(60, 24), (60, 48)]),
        ((8, 8), (64, 64), [(16, 16), (32, 32), (64, 64)]),
        ((5,), (75,), [(15,), (75,)]),
        ((7,), (7,), []),
        ((2, 3, 5), (12, 3, 35), [(4, 3, 35), (12, 3, 35)]),
        ((10, 10), (10, 40), [(10, 20), (10, 40)]),
    ],
    ids=["60x48", "powers", "1d", "equal", "3d", "one-axis"],
)
def test_upsampling_levels(small, large, levels):
    assert upsampling_levels(small, large) == levels


@pytest.mark.parametrize(("lattice", "patch"), LATTICES)
def test_each_level_divides_the_next(lattice, patch):
    sizes = [patch, *upsampling_levels(patch, lattice)]
    assert sizes[-1] == lattice
    for lower, upper in pairwise(sizes):
        assert Tiling(upper, lower).number > 1


def test_geometry_of_a_buffered_patch():
    geometry = PatchGeometry((20, 12), halo=1, buffer=2)
    assert (geometry.margin, geometry.active, geometry.window) == (3, (24, 16), (26, 18))
    assert geometry.cut(np.zeros((5, 1, 26, 18))).shape == (5, 1, 20, 12)


def test_periodic_patch_has_no_margin():
    geometry = PatchGeometry((4, 6), boundary="periodic")
    assert geometry.margin == 0
    assert geometry.window == geometry.active == (4, 6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Tiling((64, 64), (20, 12)), r"\(20, 12\) does not divide the lattice \(64, 64\)"),
        (lambda: Tiling((64,), (8, 8)), "differ in dimension"),
        (lambda: Tiling((64,), (0,)), "does not divide"),
        (lambda: upsampling_levels((20, 12), (60, 50)), "does not divide"),
        (lambda: PatchGeometry((4, 4), buffer=1, boundary="periodic"), "set buffer to 0"),
        (lambda: PatchGeometry((4, 4), buffer=-1), "impossible patch geometry"),
        (lambda: PatchGeometry((4, 0)), "impossible patch geometry"),
        (lambda: PatchGeometry((4, 4), buffer=3).check((16, 8)), "along axis 1: choose a smaller"),
        (lambda: PatchGeometry((4,)).check((16, 8)), "differ in dimension"),
    ],
)
def test_impossible_geometries_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_fitting_geometry_passes_its_check():
    PatchGeometry((20, 12), buffer=2).check((60, 48))
    PatchGeometry((4,), halo=2).check((8,))
    PatchGeometry((8,), halo=0).check((8,))
    PatchGeometry((8,), halo=2, boundary="periodic").check((8,))


def test_windows_overlap_themselves_on_periodic_lattices_alone():
    geometry = PatchGeometry((4,), halo=1, buffer=2)
    with pytest.raises(ValueError, match=r"on either side is wider \(10\) than the lattice \(8\)"):
        geometry.check((8,))
    geometry.check((8,), periodic=False)
    with pytest.raises(ValueError, match=r"with its buffer is wider \(8\) than the lattice \(4\)"):
        geometry.check((4,), periodic=False)


def test_tiling_with_ends_reaches_beyond_them_where_shifted():
    tiling = Tiling((12, 6), (4, 3), periodic=False)
    np.testing.assert_array_equal(tiling.origins(), Tiling((12, 6), (4, 3)).origins())
    shifted = tiling.origins((2, 1))
    assert shifted.tolist() == [[x, y] for x in (-2, 2, 6, 10) for y in (-2, 1, 4)]
    for offset in tiling.overlapping_offsets():
        counted = np.zeros((12, 6), dtype=int)
        for x, y in tiling.origins(offset):
            counted[max(x, 0) : x + 4, max(y, 0) : y + 3] += 1
        assert (counted == 1).all()


@pytest.mark.parametrize("offset", [(0, 0), (2, 1), (2, 0)])
def test_colours_with_ends_keep_patches_apart(offset):
    tiling = Tiling((12, 9), (4, 3), periodic=False)
    origins = tiling.origins(offset)
    colours = list(tiling.colours(offset))
    assert sorted(np.concatenate(colours)) == list(range(len(origins)))
    assert len(colours) == 4  # no third colour: the last patch does not touch the first
    for colour in colours:
        apart = np.abs(origins[colour][:, None] - origins[colour]) > np.array([4, 3])
        assert (apart.any(-1) | np.eye(len(colour), dtype=bool)).all()


def test_beyond_an_end_stands_the_last_site():
    states = np.arange(10.0)[None, None]
    origins = np.array([[-2], [7]])
    expected = [[[0, 0, 0, 1, 2]], [[7, 8, 9, 9, 9]]]
    np.testing.assert_array_equal(gather(states, origins, (5,), periodic=False)[0], expected)
    each = gather_each(states, origins[None], (5,), periodic=False)
    np.testing.assert_array_equal(each[0], expected)
    assert sites_outside((10,), origins, (5,)).tolist() == [[[2, 0]], [[0, 2]]]
    assert sites_outside((10,), np.array([[-1]]), (12,)).tolist() == [[[1, 1]]]


def test_what_lies_beyond_an_end_is_not_written_back():
    rng = np.random.default_rng(1)
    states = rng.random((3, 2, 8, 6))
    before = states.copy()
    origins = np.array([[-2, -1], [2, 5], [6, 2]])
    blocks = rng.random((3, 3, 2, 4, 3))
    scatter(states, origins, blocks, periodic=False)
    for b, (x, y) in enumerate(origins):
        for i in range(4):
            for j in range(3):
                if 0 <= x + i < 8 and 0 <= y + j < 6:
                    before[:, :, x + i, y + j] = blocks[:, b, :, i, j]
    np.testing.assert_array_equal(states, before)


def test_whole_patches_are_cut_from_the_first_site_on():
    assert fitting_origins((100,), (40,)).tolist() == [[0], [40]]
    states = np.arange(200.0).reshape(1, 2, 100)
    np.testing.assert_array_equal(
        split(states, (40,))[0],
        [[[*range(s, s + 40)], [*range(s + 100, s + 140)]] for s in (0, 40)],
    )
