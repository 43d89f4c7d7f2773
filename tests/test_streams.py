"""Streams: distinct, reproducible and independent of how the work is cut."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from macrodyn.streams import generator, seeds, stream_key, substreams


def test_keys_are_pinned():
    # Results of a study may not change with a version of Python, NumPy or the platform.
    assert int(stream_key(1, "a", 3)) == 7968217002437565310
    assert seeds(2511, "simulate", index=3).tolist() == [
        16248229786847567269,
        7659265642857060898,
        14903165940279234719,
    ]


def test_different_names_give_different_keys():
    paths = [
        (1,), (2,), (-1,), (1, "a"), (2, "a"), (1, "b"), (1, "a", "b"), (1, "b", "a"), (1, "ab"),
        (1, "a", 0), (1, "a", 1), (1, "a", "1"), (1, 1), (1, "1"), (1, 0, 1), (1, 1, 0), (1, ""),
    ]  # fmt: skip
    keys = {int(stream_key(*path)) for path in paths}
    assert len(keys) == len(paths)


def test_numpy_integers_name_the_same_stream():
    expected = stream_key(5, "upsample", 7)
    assert stream_key(np.int64(5), "upsample", np.int64(7)) == expected
    assert stream_key(np.uint64(5), "upsample", np.int32(7)) == expected


def test_seeds_do_not_depend_on_the_batch():
    whole = seeds(3, "simulate", index=1000)
    some = np.array([999, 0, 17, 17])
    np.testing.assert_array_equal(seeds(3, "simulate", index=some), whole[some])
    np.testing.assert_array_equal(seeds(3, "simulate", index=np.int64(1000)), whole)
    assert whole.dtype == np.uint64


def test_seeds_and_substreams_are_distinct():
    keys = np.concatenate(
        [seeds(s, stage, index=20_000) for s in (0, 1, 2) for stage in ("initial", "simulate")]
    )
    steps = np.concatenate([keys, *(substreams(keys[:5000], step) for step in range(20))])
    assert len(np.unique(steps)) == len(steps)


def test_substreams_of_many_keys_are_those_of_each():
    keys = seeds(1, "a", index=5)
    steps = np.array([4, 0, 2, 2, 7])
    together = substreams(keys, steps)
    for key, step, expected in zip(keys, steps, together, strict=True):
        assert substreams(np.array([key]), int(step))[0] == expected


@pytest.mark.parametrize("bit", [0, 31, 32, 63])
def test_bits_of_consecutive_keys_are_balanced(bit):
    n = 100_000
    ones = int(((seeds(9, "x", index=n) >> np.uint64(bit)) & np.uint64(1)).sum())
    assert abs(ones - n / 2) < 5 * np.sqrt(n) / 2


def test_neighbouring_keys_differ_in_half_their_bits():
    keys = seeds(9, "x", index=20_000)
    flipped = np.bitwise_count(keys[1:] ^ keys[:-1]).astype(float)
    assert abs(flipped.mean() - 32) < 5 * 4 / np.sqrt(len(flipped))
    assert abs(flipped.var() - 16) < 1


def test_pairs_of_keys_fill_the_square_evenly():
    keys = seeds(4, "y", index=200_001) / 2.0**64
    counts, _, _ = np.histogram2d(keys[:-1], keys[1:], bins=20, range=[[0, 1], [0, 1]])
    assert stats.chisquare(counts.ravel()).pvalue > 1e-4


def test_generators_are_reproducible_and_independent():
    draws = {name: generator(7, "tile", name).random(20_000) for name in range(4)}
    np.testing.assert_array_equal(draws[2], generator(7, "tile", 2).random(20_000))
    for a, b in itertools.combinations(draws, 2):
        assert abs(np.corrcoef(draws[a], draws[b])[0, 1]) < 5 / np.sqrt(20_000)
