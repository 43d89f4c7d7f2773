"""The counter-based generator and the draws made from it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from macrodyn.streams import seeds
from macrodyn.systems.shared.philox import (
    fill_words,
    philox_block,
    poisson,
    uniform52,
    uniform_pair,
)

# Known answers of the Random123 distribution, philox4x32 with 10 rounds: counter, key, result.
KNOWN = [
    ("00000000 " * 4, "00000000 " * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff " * 4, "ffffffff " * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def reference(counter: list[int], key: list[int]) -> list[int]:
    """Philox-4x32-10 in plain integers."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 % 2**32, (p0 >> 32) ^ c3 ^ k1, p0 % 2**32
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return [c0, c1, c2, c3]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN, ids=["zeros", "ones", "pi"])
def test_known_answers(counter, key, result):
    block = philox_block(*(np.uint64(word) for word in words(counter) + words(key)))
    assert [int(word) for word in block] == words(result)
    assert reference(words(counter), words(key)) == words(result)


@pytest.mark.parametrize("first", [0, 5, 2**32 - 2, 2**40], ids=["0", "5", "carry", "2^40"])
@pytest.mark.parametrize("lane", [0, 2])
def test_words_come_from_key_lane_and_counter(first, lane):
    key = 0xA4093822_299F31D0
    out = np.empty(4 * 4, dtype=np.uint32)
    fill_words(out, np.uint64(key), np.uint64(lane), np.uint64(first), 4)
    for i in range(4):
        counter = first + i
        expected = reference([counter % 2**32, counter >> 32, lane, 0], [key % 2**32, key >> 32])
        assert [int(out[4 * part + i]) for part in range(4)] == expected


def test_uniform_numbers_are_never_zero_or_one():
    full = np.uint64(2**32 - 1)
    assert uniform52(np.uint64(0), np.uint64(0)) == 2.0**-53
    assert uniform52(full, full) < 1.0
    assert uniform52(np.uint64(2**31), np.uint64(0)) == pytest.approx(0.5)


def test_uniform_pairs_are_uniform_and_independent():
    pairs = np.array(
        [uniform_pair(np.uint64(11), np.uint64(2), np.uint64(i)) for i in range(20_000)]
    )
    assert stats.kstest(pairs[:, 0], "uniform").pvalue > 1e-4
    assert stats.kstest(pairs[:, 1], "uniform").pvalue > 1e-4
    counts, _, _ = np.histogram2d(*pairs.T, bins=10, range=[[0, 1], [0, 1]])
    assert stats.chisquare(counts.ravel()).pvalue > 1e-4


@pytest.mark.parametrize("mean", [0.02, 0.7, 3.3, 9.999, 10.0, 12.5, 64.0, 1e3, 1e6])
def test_poisson_numbers_follow_the_exact_law(mean):
    n = 60_000
    draws = np.array([poisson(mean, key, np.uint64(1)) for key in seeds(1, "p", index=n)])
    assert abs(draws.mean() - mean) < 5 * np.sqrt(mean / n)
    # Var of the sample variance: (mu_4 - mu_2^2) / n with mu_4 = mean + 3 mean^2.
    assert abs(draws.var() - mean) < 5 * np.sqrt((mean + 2 * mean**2) / n)
    edges = np.unique(stats.poisson.ppf(np.linspace(0, 1, 61)[1:-1], mean))
    cumulative = np.concatenate([[0.0], stats.poisson.cdf(edges, mean), [1.0]])
    bins = np.searchsorted(edges, draws)
    expected = n * np.diff(cumulative)
    observed = np.bincount(bins, minlength=len(expected))
    keep = expected > 5
    rest = expected[~keep].sum()
    if rest:
        expected = np.append(expected[keep], rest)
        observed = np.append(observed[keep], observed[~keep].sum())
    if rest == 0 or rest > 1:
        assert stats.chisquare(observed, expected).pvalue > 1e-4


def test_poisson_of_mean_zero_is_zero():
    assert poisson(0.0, np.uint64(3), np.uint64(1)) == 0


def test_poisson_does_not_share_numbers_with_other_lanes():
    keys = seeds(1, "p", index=5000)
    one, two = (np.array([poisson(50.0, k, np.uint64(lane)) for k in keys]) for lane in (1, 3))
    assert abs(np.corrcoef(one, two)[0, 1]) < 5 / np.sqrt(len(keys))
