"""Kinetic Monte Carlo of vacancies in a bcc crystal: exact residence times, state by state.

A vacancy exchanges with one of its eight neighbours at the rate nu exp(-Eb / kT). Its time is the
system's: after each jump the rates of the vacancies whose surroundings have changed are made anew.

Source: Bortz, Kalos and Lebowitz, J. Comput. Phys. 17, 10 (1975), for rejection-free jumps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from macrodyn.streams import Seeds
from macrodyn.systems.nbmota.barriers import BOLTZMANN, RELU, BarrierModel
from macrodyn.systems.nbmota.crystal import DIRECTIONS, VACANCY
from macrodyn.systems.shared.philox import uniform_pair

# The stream's sequence that jumps draw from: a pair of numbers each.
_LANE = np.uint64(0)
_JUMPS = len(DIRECTIONS)
# Slots of the cache of surroundings, a power of two, and how many are looked at for one.
_SLOTS, _PROBES = 1 << 15, 4
# Why a walk ended.
TIME, EVENTS, STUCK = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Walk:
    """What some walks did.

    Attributes:
        states: Where they ended, shaped like the states they began with.
        times: Time that passed, shape [batch].
        jumps: Number of jumps, shape [batch].
        evaluations: How often the eight barriers of a vacancy were computed, shape [batch].
        ended: `TIME`, `EVENTS` or `STUCK` (no jump is possible), shape [batch].
    """

    states: NDArray[np.uint8]
    times: NDArray[np.float64]
    jumps: NDArray[np.int64]
    evaluations: NDArray[np.int64]
    ended: NDArray[np.int64]


class Kinetics:
    """Walks of vacancies by the barriers of a model.

    Args:
        model: The barriers.
        frequency: Attempt frequency nu, per unit of time.
        cache: Whether rates of surroundings that were seen are kept. It changes no result.
    """

    def __init__(self, model: BarrierModel, frequency: float, *, cache: bool = True) -> None:
        self.model, self.frequency, self.cache = model, frequency, cache

    @cached_property
    def tables(self) -> tuple[NDArray, ...]:
        """Channel and cell of each site that is read, by the channel of the vacancy."""
        channel = np.arange(2)[:, None, None]
        position = channel + self.model.offsets[None]
        channels = position[..., 0] % 2
        cells = (position - channels[..., None]) // 2
        return channels.astype(np.int64), cells.astype(np.int64)

    @property
    def margin(self) -> int:
        """Cells around a vacancy's own that its barriers depend on."""
        return int(np.abs(self.tables[1]).max())

    def walk(
        self,
        states: NDArray[np.uint8],
        temperature: NDArray[np.float64] | float,
        seeds: Seeds,
        *,
        duration: float = math.inf,
        events: int | None = None,
        inside: tuple[slice, ...] | None = None,
    ) -> Walk:
        """Let vacancies walk until a time has passed, or a number of jumps.

        Args:
            states: Species of periodic blocks of cells, shape [batch, 2, *cells]; left unchanged.
            temperature: In K, of each state or of all.
            seeds: One stream per state, shape [batch].
            duration: Time after which walks end; the jump that would come later is not made.
            events: Jumps after which walks end.
            inside: Cells that may change, along each axis; all by default. Vacancies stay inside,
                and those outside rest. The block then is a window, and must have a `margin` on each
                side, so that nothing is read across its ends.

        Returns:
            Where they ended, and when.

        Raises:
            ValueError: If neither ends the walks, or a block or a margin is too narrow.
        """
        if not math.isfinite(duration) and events is None:
            raise ValueError("a walk needs a duration or a number of events")
        shape = states.shape[2:]
        low, high = np.zeros(3, np.int64), np.array(shape, np.int64)
        if inside is not None:
            for axis, part in enumerate(inside):
                low[axis], high[axis], _ = part.indices(shape[axis])
                if low[axis] < self.margin or high[axis] > shape[axis] - self.margin:
                    raise ValueError(
                        f"a window of {shape[axis]} cells needs {self.margin} beyond each end of "
                        f"what may change along axis {axis}"
                    )
        after = np.ascontiguousarray(states, dtype=np.uint8).copy()
        n = len(after)
        beta = 1.0 / (BOLTZMANN * np.broadcast_to(np.asarray(temperature, np.float64), (n,)))
        times = np.empty(n)
        jumps, evaluations, ended = (np.empty(n, np.int64) for _ in range(3))
        model = self.model
        channels, cells = self.tables
        for i in range(n):
            times[i], jumps[i], evaluations[i], ended[i] = _walk(
                after[i],
                low,
                high,
                beta[i],
                self.frequency,
                duration,
                -1 if events is None else events,
                seeds[i],
                channels,
                cells,
                model.jumpers,
                self._nets,
                self._pairs,
                self._memory if self.cache else self._no_memory,
            )
        return Walk(states=after, times=times, jumps=jumps, evaluations=evaluations, ended=ended)

    def barriers(self, states: NDArray[np.uint8], vacancies: NDArray[np.int64]) -> NDArray:
        """Barriers of the eight jumps of one vacancy of each state, by the kernel.

        Args:
            states: Shape [batch, 2, *cells].
            vacancies: Channel and cell of a vacancy of each, shape [batch, 4].

        Returns:
            In eV, shape [batch, 8]; infinite where the neighbour is a vacancy.
        """
        found = np.empty((len(states), _JUMPS), np.float64)
        channels, cells = self.tables
        around = np.empty(channels.shape[1], np.uint8)
        for i, (state, vacancy) in enumerate(zip(states, vacancies, strict=True)):
            _look(state, vacancy, channels, cells, around)
            _evaluate(around, self.model.jumpers, self._nets, self._pairs, found[i])
        return found

    @cached_property
    def _nets(self) -> tuple[Any, ...]:
        model = self.model
        return (
            *_listed(model.rows),
            model.table,
            model.lines,
            model.bias,
            # A product from the right reads rows.
            np.ascontiguousarray(model.weights.transpose(0, 2, 1)),
            model.biases,
            model.out,
            model.level,
            model.activation == RELU,
        )

    @cached_property
    def _pairs(self) -> tuple[NDArray, NDArray, NDArray]:
        places, table = self.model.changes
        return (*_listed(places), table)

    @cached_property
    def _memory(self) -> tuple[NDArray, NDArray]:
        return np.zeros(_SLOTS, np.uint64), np.zeros((_SLOTS, _JUMPS))

    @cached_property
    def _no_memory(self) -> tuple[NDArray, NDArray]:
        return np.zeros(0, np.uint64), np.zeros((0, _JUMPS))


def _listed(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which sites have a row for each jump, and which row: as many for every jump, [8, k] each."""
    sites = np.array([np.flatnonzero(row >= 0) for row in rows])
    return sites, np.take_along_axis(rows, sites, axis=1)


@njit(cache=True)
def _look(state, vacancy, channels, cells, around):  # type: ignore[no-untyped-def]
    """Read the species around a vacancy."""
    c = vacancy[0]
    nx, ny, nz = state.shape[1:]
    for j in range(channels.shape[1]):
        x = vacancy[1] + cells[c, j, 0]
        y = vacancy[2] + cells[c, j, 1]
        z = vacancy[3] + cells[c, j, 2]
        # Farther than a period away only in the smallest blocks.
        while x < 0:
            x += nx
        while x >= nx:
            x -= nx
        while y < 0:
            y += ny
        while y >= ny:
            y -= ny
        while z < 0:
            z += nz
        while z >= nz:
            z -= nz
        around[j] = state[channels[c, j], x, y, z]


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _evaluate(around, jumpers, nets, pairs, barriers):  # type: ignore[no-untyped-def]
    """Barriers of the eight jumps from the species around a vacancy."""
    sites, rows, table, lines, bias, weights, biases, out, level, rectified = nets
    places, steps, changes = pairs
    width = table.shape[2]
    x = np.empty((8, width), np.float32)
    for d in range(8):
        atom = around[jumpers[d]]
        for w in range(width):
            x[d, w] = bias[atom, w]
        for k in range(rows.shape[1]):
            row, species = rows[d, k], around[sites[d, k]]
            for w in range(width):
                x[d, w] += table[row, species, w]
    _activate(x, rectified)
    for layer in range(len(biases)):
        y = np.dot(x, weights[layer])
        for d in range(8):
            for w in range(width):
                y[d, w] += biases[layer, w]
        x = y
        _activate(x, rectified)
    for d in range(8):
        atom = around[jumpers[d]]
        if atom == VACANCY:
            barriers[d] = np.inf
            continue
        total = np.float32(0.0)
        for w in range(width):
            total += x[d, w] * out[atom, w]
        if len(lines):
            for k in range(rows.shape[1]):
                total += lines[rows[d, k], atom, around[sites[d, k]]]
        change = 0.0
        if len(changes):
            for k in range(steps.shape[1]):
                change += changes[steps[d, k], atom, around[places[d, k]]]
        barriers[d] = total + level[atom] + 0.5 * change


@njit(cache=True)
def _activate(x, rectified):  # type: ignore[no-untyped-def]
    for d in range(x.shape[0]):
        for w in range(x.shape[1]):
            if rectified:
                x[d, w] = max(x[d, w], np.float32(0.0))
            else:
                x[d, w] = np.tanh(x[d, w])


@njit(cache=True)
def _digest(around):  # type: ignore[no-untyped-def]
    """A 64-bit digest of the species around a vacancy, never 0.

    Two of a million different surroundings share one with a chance of 1e-8.
    """
    value = np.uint64(0x243F6A8885A308D3)
    word = np.uint64(0)
    for j in range(len(around)):
        word = (word << np.uint64(2)) | np.uint64(around[j])
        if j % 32 == 31 or j == len(around) - 1:
            value = (value ^ word) * np.uint64(0x9E3779B97F4A7C15)
            value ^= value >> np.uint64(29)
            value *= np.uint64(0xBF58476D1CE4E5B9)
            value ^= value >> np.uint64(32)
            word = np.uint64(0)
    return value | np.uint64(1)


@njit(cache=True)
def _recall(around, jumpers, nets, pairs, memory, barriers):  # type: ignore[no-untyped-def]
    """Barriers from the cache, or computed and kept; whether they were computed."""
    keys, kept = memory
    if len(keys) == 0:
        _evaluate(around, jumpers, nets, pairs, barriers)
        return 1
    key = _digest(around)
    first = np.int64(key >> np.uint64(33)) % len(keys)
    slot = first
    for probe in range(_PROBES):
        here = (first + probe) % len(keys)
        if keys[here] == key:
            barriers[:] = kept[here]
            return 0
        if keys[here] == 0:
            slot = here
            break
    _evaluate(around, jumpers, nets, pairs, barriers)
    keys[slot] = key
    kept[slot] = barriers
    return 1


@njit(cache=True)
def _apart(a, b, n):  # type: ignore[no-untyped-def]
    """Distance of two cells along a periodic axis."""
    d = abs(a - b)
    return min(d, n - d)


@njit(cache=True)
def _walk(  # type: ignore[no-untyped-def]
    state,
    low,
    high,
    beta,
    frequency,
    duration,
    events,
    key,
    channels,
    cells,
    jumpers,
    nets,
    pairs,
    memory,
):
    """Walk one state in place: time, jumps, evaluations, and why it ended."""
    sides = np.array(state.shape[1:])
    count = 0
    for c in range(2):
        for i in range(low[0], high[0]):
            for j in range(low[1], high[1]):
                for k in range(low[2], high[2]):
                    count += state[c, i, j, k] == VACANCY
    vacancies = np.empty((count, 4), np.int64)
    count = 0
    for c in range(2):
        for i in range(low[0], high[0]):
            for j in range(low[1], high[1]):
                for k in range(low[2], high[2]):
                    if state[c, i, j, k] == VACANCY:
                        vacancies[count, 0] = c
                        vacancies[count, 1] = i
                        vacancies[count, 2] = j
                        vacancies[count, 3] = k
                        count += 1
    around = np.empty(channels.shape[1], np.uint8)
    barriers = np.empty(8)
    rates = np.zeros((count, 8))
    stale = np.ones(count, np.bool_)
    reach = np.abs(cells).max() + 1
    target = np.empty(4, np.int64)
    passed, jumps, evaluations = 0.0, 0, 0
    while True:
        for v in range(count):
            if not stale[v]:
                continue
            stale[v] = False
            _look(state, vacancies[v], channels, cells, around)
            evaluations += _recall(around, jumpers, nets, pairs, memory, barriers)
            for d in range(8):
                jump_target(vacancies[v], channels, cells, jumpers[d], target)
                open_ = around[jumpers[d]] != VACANCY
                for axis in range(3):
                    if low[axis] > 0 or high[axis] < sides[axis]:
                        open_ &= low[axis] <= target[axis + 1] < high[axis]
                # No barrier is below zero: what a model says there is beyond its data.
                found = max(barriers[d], 0.0)
                rates[v, d] = frequency * np.exp(-beta * found) if open_ else 0.0
        total = rates.sum()
        if not total > 0.0:
            return duration, jumps, evaluations, STUCK
        first, second = uniform_pair(key, _LANE, np.uint64(jumps))
        wait = -np.log(first) / total
        if passed + wait > duration:
            return duration, jumps, evaluations, TIME
        if jumps == events:
            return passed, jumps, evaluations, EVENTS
        passed += wait
        aim, v, d = second * total, 0, 0
        reached = 0.0
        for number in range(8 * count):
            # The last that is open, if rounding leaves the aim beyond all.
            if rates[number // 8, number % 8] > 0.0:
                v, d = number // 8, number % 8
                reached += rates[v, d]
                if reached > aim:
                    break
        jump_target(vacancies[v], channels, cells, jumpers[d], target)
        for axis in range(3):
            target[axis + 1] %= sides[axis]
        c, i, j, k = vacancies[v]
        state[c, i, j, k] = state[target[0], target[1], target[2], target[3]]
        state[target[0], target[1], target[2], target[3]] = VACANCY
        vacancies[v] = target
        jumps += 1
        for other in range(count):
            near = True
            for axis in range(3):
                near &= _apart(vacancies[other, axis + 1], target[axis + 1], sides[axis]) <= reach
            stale[other] |= near


@njit(cache=True)
def jump_target(vacancy, channels, cells, jumper, target):  # type: ignore[no-untyped-def]
    """Channel and cell that a jump leads to, not wrapped."""
    c = vacancy[0]
    target[0] = channels[c, jumper]
    for axis in range(3):
        target[axis + 1] = vacancy[axis + 1] + cells[c, jumper, axis]
