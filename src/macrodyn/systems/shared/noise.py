"""Counter-based normal numbers for batches of fields, the same on CPU and GPU.

A number depends on (key of the state, step, channel, site) alone: not on what else is in the batch,
on how many steps are drawn at once, or on threads. The random words are those of
`macrodyn.systems.shared.philox`, bit for bit: on a CPU its function makes them, elsewhere integer
operations on whole tensors do. The normal numbers of a CPU and of a GPU agree to rounding, for
their logarithms and cosines may differ in the last bit.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from macrodyn.systems.shared.philox import philox_block

# Constants of Philox-4x32: see `macrodyn.systems.shared.philox`.
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF
_ROUNDS = 10
_WORDS = 4  # of a counter
_LOW_64, _32_64 = np.uint64(_LOW), np.uint64(32)


@njit(cache=True, nogil=True)
def _fill_words(keys: NDArray[np.uint64], first: int, out: NDArray[np.float32]) -> None:
    """Write the words of `NormalNoise`, rounded, into [word, step, channel, block, key]."""
    zero = np.uint64(0)
    _, steps, channels, blocks, _ = out.shape
    for s in range(steps):
        for c in range(channels):
            for b in range(blocks):
                row = out[:, s, c, b]
                for i in range(keys.size):
                    k0, k1 = keys[i] & _LOW_64, keys[i] >> _32_64
                    words = philox_block(
                        np.uint64(b), np.uint64(first + s), np.uint64(c), zero, k0, k1
                    )
                    row[0, i] = np.float32(words[0])
                    row[1, i] = np.float32(words[1])
                    row[2, i] = np.float32(words[2])
                    row[3, i] = np.float32(words[3])


def round_keys(keys: NDArray[np.uint64], device: str = "cpu") -> Tensor:
    """Halves of 64-bit keys as each round of Philox takes them.

    Args:
        keys: One key per stream, shape [batch], uint64.
        device: Where the tensor goes.

    Returns:
        Shape [round, half, batch], int64 that hold 32 bits.
    """
    key = torch.from_numpy(np.array(keys, dtype=np.uint64).view(np.int64)).to(device)
    halves = torch.stack([key & _LOW, (key >> 32) & _LOW])
    turn = torch.arange(_ROUNDS, device=device)[:, None, None]
    weyl = torch.tensor(_WEYL, device=device)[None, :, None]
    return (halves + turn * weyl) & _LOW


class NormalNoise:
    """Independent normal numbers for every step, channel and site of a batch of fields.

    Sites 4 j ... 4 j + 3 of channel c at step t take the four words of the Philox counter
    (j, t, c, 0), two by two through the Box-Muller transform. Words are mapped to uniform numbers
    (w + 1/2) / 2^32, so that the largest normal number is sqrt(66 ln 2) = 6.76.

    All buffers are made once. The batch is the last axis: every operation runs along it.

    Source: Philox: Salmon, Moraes, Dror, Shaw, SC'11. Box, Muller, Ann. Math. Stat. 29, 610
    (1958).

    Args:
        keys: One key per state, shape [batch], uint64.
        channels: Fields per site.
        sites: Sites of a state, or of a window.
        steps: Steps that are drawn at once; it changes no value.
        deviation: Standard deviation of the numbers.
        device: Where they are drawn.
    """

    def __init__(
        self,
        keys: NDArray[np.uint64],
        channels: int,
        sites: int,
        steps: int = 1,
        deviation: float = 1.0,
        device: str = "cpu",
    ) -> None:
        blocks = -(-sites // _WORDS)
        batch = len(keys)
        self.steps = steps
        self._shape = (steps, channels, blocks, batch)
        self._sites = sites
        self._device = device
        self._keys = np.array(keys, dtype=np.uint64)
        # Operations with tensors of one number start faster than with Python's numbers.
        real: dict[str, Any] = {"dtype": torch.float32, "device": device}
        self._half = torch.tensor(0.5, **real)
        self._unit = torch.tensor(2.0**-32, **real)
        self._turn = torch.tensor(2.0 * math.pi * 2.0**-32, **real)
        self._log_scale = torch.tensor(-2.0 * deviation**2, **real)
        self._real_words = torch.empty((_WORDS, *self._shape), **real)
        self._wave = torch.empty(self._shape, **real)
        self._normals = torch.empty((steps, channels, blocks, _WORDS, batch), **real)

    @cached_property
    def _round_keys(self) -> Tensor:
        return round_keys(self._keys, self._device)

    @cached_property
    def _work(self) -> tuple[Tensor, ...]:
        integer: dict[str, Any] = {"dtype": torch.int64, "device": self._device}
        return tuple(torch.empty(self._shape, **integer) for _ in range(6))

    def words(self, first: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Make the four words of every counter by operations on tensors, on any device.

        Args:
            first: The first of the steps.

        Returns:
            Words 0 to 3, each of shape [step, channel, block, batch], int64 that hold 32 bits, in
            buffers that the next call overwrites.
        """
        steps, channels, blocks, _ = self._shape
        integer: dict[str, Any] = {"dtype": torch.int64, "device": self._device}
        m0, m1, low, bits = (torch.tensor(x, **integer) for x in (*_MULTIPLIERS, _LOW, 32))
        block = torch.arange(blocks, **integer)[:, None]
        channel = torch.arange(channels, **integer)[:, None, None]
        step = torch.arange(first, first + steps, **integer)[:, None, None, None]
        # The first two rounds do not depend on all axes yet: they are done on small tensors.
        # Words c1 and c3 keep garbage above their 32 bits: only what is multiplied must be clean.
        k = self._round_keys
        p0, p1 = m0 * block, m1 * channel
        a = (((p1 >> bits) & low) ^ step) ^ k[0, 0]
        c = ((p0 >> bits) & low) ^ k[0, 1]
        q0, q1 = m0 * a, m1 * c
        a = ((q1 >> bits) ^ p1 ^ k[1, 0]) & low
        c = ((q0 >> bits) ^ p0 ^ k[1, 1]) & low

        c0, c2, new0, new1, old0, old1 = self._work
        for buffer, value in ((c0, a), (c2, c), (old0, q0), (old1, q1)):
            buffer.copy_(value)  # broadcasts
        for k0, k1 in k[2:]:
            torch.mul(c0, m0, out=new0)
            torch.mul(c2, m1, out=new1)
            torch.bitwise_right_shift(new1, bits, out=c0)
            c0.bitwise_xor_(old1).bitwise_xor_(k0).bitwise_and_(low)
            torch.bitwise_right_shift(new0, bits, out=c2)
            c2.bitwise_xor_(old0).bitwise_xor_(k1).bitwise_and_(low)
            old0, new0, old1, new1 = new0, old0, new1, old1
        return c0, old1.bitwise_and_(low), c2, old0.bitwise_and_(low)

    def real_words(self, first: int) -> Tensor:
        """Make all words and round them to float32, in the way that suits the device.

        Args:
            first: The first of the steps.

        Returns:
            Shape [word, step, channel, block, batch], in a buffer that the next call overwrites.
        """
        if self._device == "cpu":
            _fill_words(self._keys, first, self._real_words.numpy())
        else:
            for real, word in zip(self._real_words, self.words(first), strict=True):
                real.copy_(word)
        return self._real_words

    def fill(self, first: int) -> Tensor:
        """Draw the numbers of the next ``steps`` steps.

        Args:
            first: The first of these steps.

        Returns:
            Shape [step, channel, site, batch], float32, in a buffer that the next call overwrites.
        """
        words, wave = self.real_words(first), self._wave
        for pair in (0, 1):
            radius, angle = words[2 * pair], words[2 * pair + 1]
            radius.add_(self._half).mul_(self._unit).log_().mul_(self._log_scale).sqrt_()
            angle.mul_(self._turn)
            torch.cos(angle, out=wave)
            torch.mul(radius, wave, out=self._normals[:, :, :, 2 * pair])
            torch.sin(angle, out=wave)
            torch.mul(radius, wave, out=self._normals[:, :, :, 2 * pair + 1])
        steps, channels, _, batch = self._shape
        return self._normals.view(steps, channels, -1, batch)[:, :, : self._sites]
