"""The compiled walk of vacancies, jump by jump or out of chains of states.

Source: Bortz, Kalos and Lebowitz, J. Comput. Phys. 17, 10 (1975), for rejection-free jumps.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from macrodyn.systems.nbmota.crystal import DIRECTIONS, VACANCY
from macrodyn.systems.nbmota.flicker import leave
from macrodyn.systems.nbmota.surroundings import look, recall
from macrodyn.systems.shared.philox import uniform_pair

# The stream's sequence that jumps draw from: a pair of numbers each.
_LANE = np.uint64(0)
_JUMPS = len(DIRECTIONS)
# A chain takes in the likeliest jump out of it if that is this share of what leaves it from the
# jump's state, and if this share of what leaves the state that it leads to leads back.
_MAIN, _RETURNS = 0.5, 0.8
# Why a walk ended.
TIME, EVENTS, STUCK = 0, 1, 2


@njit(cache=True)
def _apart(a, b, n):  # type: ignore[no-untyped-def]
    """Distance of two cells along a periodic axis."""
    d = abs(a - b)
    return min(d, n - d)


@njit(cache=True)
def walk(  # type: ignore[no-untyped-def]
    state, low, high, beta, frequency, duration, events, key, tables, memory, chain
):
    """Walk one state in place: time, jumps, evaluations, why it ended, and chains left."""
    cells = tables[1]
    sides = np.array(state.shape[1:])
    vacancies = _vacancies(state, low, high)
    count = len(vacancies)
    scales = (beta, frequency)
    # Species around, barriers and target: written anew by each jump, made once.
    scratch = (np.empty(cells.shape[1], np.uint8), np.empty(8), np.empty(4, np.int64))
    rates = np.zeros((count, 8))
    stale = np.ones(count, np.bool_)
    reach = np.abs(cells).max() + 1
    # Of the last two jumps: the vacancy, and the direction.
    last, before = np.full(2, -1), np.full(2, -1)
    passed, jumps, evaluations, chains = 0.0, 0, 0, 0
    while True:
        for v in range(count):
            if stale[v]:
                stale[v] = False
                evaluations += _rates(
                    state, vacancies[v], low, high, scales, tables, memory, scratch, rates[v]
                )
        total = rates.sum()
        if not total > 0.0:
            return duration, jumps, evaluations, STUCK, chains
        first, second = uniform_pair(key, _LANE, np.uint64(jumps))
        back = before[0] == last[0] and before[1] == _opposite(last[1])
        if chain > 1 and last[0] >= 0 and back:
            size, looked, time, v, d, path, left = _flicker(
                state, vacancies, last[0], rates, low, high, scales, tables, memory, scratch,
                chain, first, second, duration - passed,
            )  # fmt: skip
            evaluations += looked
            if size > 1:
                chains += 1
                for d_path in path:
                    if d_path >= 0:
                        _jump(state, vacancies, last[0], d_path, tables, scratch[2])
                        _mark(stale, vacancies, vacancies[last[0]], sides, reach)
                if not left:
                    return duration, jumps, evaluations, TIME, chains
                passed += time
                _jump(state, vacancies, v, d, tables, scratch[2])
                _mark(stale, vacancies, vacancies[v], sides, reach)
                jumps += 1
                last[0] = -1
                continue
        wait = -np.log(first) / total
        if passed + wait > duration:
            return duration, jumps, evaluations, TIME, chains
        if jumps == events:
            return passed, jumps, evaluations, EVENTS, chains
        passed += wait
        v, d = _drawn(rates, second * total)
        _jump(state, vacancies, v, d, tables, scratch[2])
        _mark(stale, vacancies, vacancies[v], sides, reach)
        before[:] = last
        last[0], last[1] = v, d
        jumps += 1


@njit(cache=True)
def _vacancies(state, low, high):  # type: ignore[no-untyped-def]
    """Channel and cell of each vacancy that moves, in the order of the sites."""
    found = []
    for c in range(2):
        for i in range(low[0], high[0]):
            for j in range(low[1], high[1]):
                for k in range(low[2], high[2]):
                    if state[c, i, j, k] == VACANCY:
                        found.append((c, i, j, k))
    vacancies = np.empty((len(found), 4), np.int64)
    for row in range(len(found)):
        for axis in range(4):
            vacancies[row, axis] = found[row][axis]
    return vacancies


@njit(cache=True)
def _rates(  # type: ignore[no-untyped-def]
    state, vacancy, low, high, scales, tables, memory, scratch, rates
):
    """Rates of the eight jumps of a vacancy; whether barriers were computed for them."""
    channels, cells, jumpers, nets, adds = tables
    beta, frequency = scales
    sides = state.shape[1:]
    around, barriers, target = scratch
    look(state, vacancy, channels, cells, around)
    computed = recall(around, jumpers, nets, adds, memory, barriers)
    for d in range(8):
        jump_target(vacancy, channels, cells, jumpers[d], target)
        open_ = around[jumpers[d]] != VACANCY
        for axis in range(3):
            if low[axis] > 0 or high[axis] < sides[axis]:
                open_ &= low[axis] <= target[axis + 1] < high[axis]
        # No barrier is below zero: what a model says there is beyond its data.
        found = max(barriers[d], 0.0)
        rates[d] = frequency * np.exp(-beta * found) if open_ else 0.0
    return computed


@njit(cache=True)
def _drawn(rates, aim):  # type: ignore[no-untyped-def]
    """The jump at which the sum of rates passes an aim."""
    v, d = 0, 0
    reached = 0.0
    for number in range(rates.size):
        # The last that is open, if rounding leaves the aim beyond all.
        if rates[number // 8, number % 8] > 0.0:
            v, d = number // 8, number % 8
            reached += rates[v, d]
            if reached > aim:
                break
    return v, d


@njit(cache=True)
def _jump(state, vacancies, v, d, tables, target):  # type: ignore[no-untyped-def]
    """Exchange a vacancy with a neighbour."""
    channels, cells, jumpers, _, _ = tables
    jump_target(vacancies[v], channels, cells, jumpers[d], target)
    for axis in range(3):
        target[axis + 1] %= state.shape[axis + 1]
    c, i, j, k = vacancies[v]
    state[c, i, j, k] = state[target[0], target[1], target[2], target[3]]
    state[target[0], target[1], target[2], target[3]] = VACANCY
    vacancies[v] = target


@njit(cache=True)
def _mark(stale, vacancies, place, sides, reach):  # type: ignore[no-untyped-def]
    """Mark the vacancies near a place that another has jumped to."""
    for other in range(len(vacancies)):
        near = True
        for axis in range(3):
            near &= _apart(vacancies[other, axis + 1], place[axis + 1], sides[axis]) <= reach
        stale[other] |= near


@njit(cache=True)
def _opposite(direction):  # type: ignore[no-untyped-def]
    """Number of the direction back."""
    return _JUMPS - 1 - direction


@njit(cache=True)
def _flicker(  # type: ignore[no-untyped-def]
    state,
    vacancies,
    v,
    rates,
    low,
    high,
    scales,
    tables,
    memory,
    scratch,
    chain,
    first,
    second,
    limit,
):
    """Leave the states among which a vacancy jumps to and fro, if there are some.

    From the state that it is in, the chain grows along the likeliest jump out of it, as long as
    what that leads to mostly leads back.

    Returns:
        Number of its states, one for none; evaluations; time of the exit; the jump that leaves it,
        its vacancy and its direction; jumps of the vacancy from the first state to the one that is
        left, -1 behind the last; and whether it is left before the limit.
    """
    cells = tables[1]
    sides = np.array(state.shape[1:])
    reach = np.abs(cells).max() + 1
    count = len(vacancies)
    all_rates = np.empty((chain, count, 8))
    all_rates[0] = rates
    paths = np.full((chain, chain), -1)
    within = np.zeros((chain, chain))
    # Jumps that lead to another state of the chain.
    inner = np.zeros((chain, 8), np.bool_)
    near = np.zeros(count, np.bool_)
    size, evaluations = 1, 0
    while size < chain:
        best, parent, direction = 0.0, 0, 0
        for i in range(size):
            for d in range(8):
                if not inner[i, d] and all_rates[i, v, d] > best:
                    best, parent, direction = all_rates[i, v, d], i, d
        out = all_rates[parent].sum() - within[parent].sum()
        if not best > _MAIN * out:
            break
        path = paths[size]
        path[:] = paths[parent]
        depth = 0
        while path[depth] >= 0:
            depth += 1
        path[depth] = direction
        near[:] = False
        for step in range(depth + 1):
            _jump(state, vacancies, v, path[step], tables, scratch[2])
            _mark(near, vacancies, vacancies[v], sides, reach)
        for other in range(count):
            if near[other]:
                evaluations += _rates(
                    state, vacancies[other], low, high, scales, tables, memory, scratch,
                    all_rates[size, other],
                )  # fmt: skip
            else:
                all_rates[size, other] = all_rates[0, other]
        for step in range(depth, -1, -1):
            _jump(state, vacancies, v, _opposite(path[step]), tables, scratch[2])
        back = all_rates[size, v, _opposite(direction)]
        if not back > _RETURNS * all_rates[size].sum():
            break
        within[parent, size], within[size, parent] = best, back
        inner[parent, direction] = inner[size, _opposite(direction)] = True
        size += 1
    nothing = paths[0].copy()
    if size == 1:
        return 1, evaluations, 0.0, 0, 0, nothing, False
    out = np.zeros(size)
    for i in range(size):
        for other in range(count):
            for d in range(8):
                if other != v or not inner[i, d]:
                    out[i] += all_rates[i, other, d]
    if not out.sum() > 0.0:
        return 1, evaluations, 0.0, 0, 0, nothing, False
    time, at, rest, left = leave(within[:size, :size], out, 0, first, second, limit)
    jumps_out = all_rates[at].copy()
    for d in range(8):
        if inner[at, d]:
            jumps_out[v, d] = 0.0
    by, d = _drawn(jumps_out, rest * out[at])
    return size, evaluations, time, by, d, paths[at].copy(), left


@njit(cache=True)
def jump_target(vacancy, channels, cells, jumper, target):  # type: ignore[no-untyped-def]
    """Channel and cell that a jump leads to, not wrapped."""
    c = vacancy[0]
    target[0] = channels[c, jumper]
    for axis in range(3):
        target[axis + 1] = vacancy[axis + 1] + cells[c, jumper, axis]
