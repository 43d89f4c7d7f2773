"""Independent random streams, named by what they are used for.

Every random number of a study comes from a counter-based generator (Philox-4x32-10) whose 64-bit
key is derived here from the study's seed, the name of the stage and the index of the replica. A
result therefore depends on neither the number of threads, nor the order of jobs, nor the way a
stage was cut into shards.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)

Seeds = NDArray[np.uint64]


def _mix(values: Seeds) -> Seeds:
    """Apply the SplitMix64 finaliser, a bijection of 64-bit integers, elementwise."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * _MIX_1
        values = (values ^ (values >> np.uint64(27))) * _MIX_2
    return values ^ (values >> np.uint64(31))


def _word(part: int | str) -> np.uint64:
    if isinstance(part, str):
        data = part.encode()
        return np.uint64((zlib.crc32(data[::-1]) << 32) | zlib.crc32(data))
    return np.uint64(int(part) % 2**64)


def stream_key(seed: int, *path: int | str) -> np.uint64:
    """Derive the 64-bit key of one stream.

    Args:
        seed: The study's seed.
        *path: What the stream is for: stage names and indices, in order.

    Returns:
        The key; different paths give different, statistically independent keys.
    """
    key = np.array([_word(seed)], dtype=np.uint64)
    for part in path:
        with np.errstate(over="ignore"):
            key = _mix(key + _GOLDEN) ^ _mix(np.array([_word(part)]) * _MIX_1 + _GOLDEN)
        key = _mix(key)
    return np.uint64(key[0])


def seeds(seed: int, *path: int | str, index: NDArray[np.integer] | int) -> Seeds:
    """Derive one key per replica.

    Args:
        seed: The study's seed.
        *path: What the streams are for: stage names and indices, in order.
        index: Global replica numbers, shape [batch], or a count n meaning 0 ... n-1.

    Returns:
        Keys, shape [batch], uint64. Distinct indices give distinct keys for one path.
    """
    numbers = np.arange(index) if isinstance(index, (int, np.integer)) else np.asarray(index)
    return substreams(np.full(numbers.shape, stream_key(seed, *path), dtype=np.uint64), numbers)


def substreams(keys: Seeds, step: NDArray[np.integer] | int) -> Seeds:
    """Derive, from each key, the key of one of its numbered substreams.

    Args:
        keys: Keys, shape [batch], uint64.
        step: Which substream, a number or one number per key.

    Returns:
        Keys, shape [batch], uint64.
    """
    number = np.asarray(step).astype(np.uint64)
    with np.errstate(over="ignore"):
        return _mix(keys ^ _mix((number + np.uint64(1)) * _GOLDEN))


def generator(seed: int, *path: int | str) -> np.random.Generator:
    """Make a NumPy generator on one stream, for draws outside the microscopic kernels.

    Args:
        seed: The study's seed.
        *path: What the stream is for: stage names and indices, in order.
    """
    return np.random.Generator(np.random.Philox(key=int(stream_key(seed, *path))))


def torch_seed(seed: int, *path: int | str) -> int:
    """Seed of a generator of torch, which takes 63 bits; see `stream_key`."""
    return int(stream_key(seed, *path) >> np.uint64(1))
