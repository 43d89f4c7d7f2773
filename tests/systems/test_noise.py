"""Normal numbers of the fields: their words are Philox's, their law is the normal one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from macrodyn.streams import seeds
from macrodyn.systems.shared.noise import NormalNoise
from macrodyn.systems.shared.philox import fill_words

KEYS = np.array([0, 2**64 - 1, 0xA4093822_299F31D0, 2**63, 12345], dtype=np.uint64)


@pytest.mark.parametrize("first", [0, 7, 2**31 - 1, 2**32 - 3], ids=str)
def test_words_are_those_of_the_numba_generator(first):
    steps, channels, blocks = 3, 2, 5
    noise = NormalNoise(KEYS, channels, 4 * blocks - 1, steps)
    words = torch.stack(noise.words(first)).numpy()
    assert words.shape == (4, steps, channels, blocks, len(KEYS))
    out = np.empty(4 * blocks, dtype=np.uint32)
    for i, key in enumerate(KEYS):
        for step in range(steps):
            for channel in range(channels):
                counter = np.uint64((first + step) << 32)
                fill_words(out, key, np.uint64(channel), counter, blocks)
                np.testing.assert_array_equal(words[:, step, channel, :, i], out.reshape(4, blocks))


@pytest.mark.parametrize("first", [0, 2**32 - 3], ids=str)
def test_both_ways_of_making_words_agree(first):
    noise = NormalNoise(KEYS, 3, 37, 3)
    expected = torch.stack(noise.words(first)).to(torch.float32)
    torch.testing.assert_close(noise.real_words(first), expected, rtol=0, atol=0)


def test_sites_take_the_words_of_their_block_by_box_muller():
    noise = NormalNoise(KEYS, 2, 12, steps=2, deviation=0.3)
    w = torch.stack(noise.words(4)).numpy().astype(float)
    normals = noise.fill(4).numpy()
    for pair in (0, 1):
        radius = 0.3 * np.sqrt(-2 * np.log((w[2 * pair] + 0.5) * 2.0**-32))
        angle = 2 * np.pi * 2.0**-32 * w[2 * pair + 1]
        for part, wave in enumerate((np.cos(angle), np.sin(angle))):
            sites = normals[:, :, 2 * pair + part :: 4]
            np.testing.assert_allclose(sites, radius * wave, rtol=0, atol=3e-6)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("part", [slice(0, 1), slice(3, 40), slice(7, 64)], ids=str)
def test_numbers_depend_on_key_step_channel_and_site_alone(steps, part):
    keys = seeds(1, "n", index=64)
    whole = NormalNoise(keys, 2, 37, 10).fill(20).clone()
    some = NormalNoise(keys[part], 2, 29, steps)
    for first in range(0, 10, steps):
        torch.testing.assert_close(
            some.fill(20 + first), whole[first : first + steps, :, :29, part], rtol=0, atol=0
        )


def test_numbers_are_normal():
    normals = NormalNoise(seeds(2, "n", index=500), 2, 100, 10).fill(0).numpy().ravel()
    n = normals.size
    assert n == 1_000_000
    x = normals.astype(float)
    # Moments 1 to 6 of the normal law; the variance of x^p is (2p-1)!! - moment^2.
    for power, moment, square in [
        (1, 0, 1), (2, 1, 3), (3, 0, 15), (4, 3, 105), (5, 0, 945), (6, 15, 10395),
    ]:  # fmt: skip
        assert abs((x**power).mean() - moment) < 5 * np.sqrt((square - moment**2) / n)
    assert stats.kstest(x, "norm").pvalue > 1e-4
    tail = int((np.abs(x) > 4).sum())
    assert abs(tail - n * 2 * stats.norm.sf(4)) < 5 * np.sqrt(n * 2 * stats.norm.sf(4))


@pytest.mark.parametrize("word", range(4))
def test_numbers_of_each_word_are_normal(word):
    normals = NormalNoise(seeds(3, "n", index=300), 2, 100, 2).fill(0).numpy()
    assert stats.kstest(normals[:, :, word::4].ravel(), "norm").pvalue > 1e-4


def test_steps_channels_sites_and_states_are_independent():
    x = NormalNoise(seeds(4, "n", index=64), 2, 64, 64).fill(0).numpy().astype(float)
    for axis in range(4):
        for shift in (1, 2, 3, 4, 8, 32):
            if shift >= x.shape[axis]:
                continue
            a = np.take(x, range(shift, x.shape[axis]), axis).ravel()
            b = np.take(x, range(x.shape[axis] - shift), axis).ravel()
            for left, right in ((a, b), (a**2 - 1, b**2 - 1)):
                scale = np.sqrt((left**2).mean() * (right**2).mean() / a.size)
                assert abs((left * right).mean()) < 5 * scale, (axis, shift)


def test_keys_that_follow_each_other_give_unrelated_numbers():
    keys = np.arange(4000, dtype=np.uint64)
    x = NormalNoise(keys, 2, 4).fill(0).numpy().reshape(8, -1)
    correlation = np.corrcoef(np.vstack([x[:, 1:], x[:, :-1]]))
    off = correlation[~np.eye(16, dtype=bool)]
    assert np.abs(off).max() < 5 / np.sqrt(len(keys))
