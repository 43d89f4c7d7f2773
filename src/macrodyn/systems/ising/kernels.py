"""Exact continuous-time Glauber dynamics of two-dimensional Ising spins.

A site flips at the rate w = 1 / (1 + exp(dE / T)), in units of the attempt rate. All kernels work
on blocks with a rim of one ghost site. In a periodic block the rim mirrors the opposite edges; in a
frozen window it holds the surroundings and never changes. One kernel so serves whole lattices,
patches wrapped onto themselves and patches in a frozen halo.

Two algorithms that are equal in distribution:

- *Uniformisation* (Jensen 1953): every rate is <= 1, so in a time t there are Poisson(n t)
  attempts, each at a uniform site, accepted with probability w. Fast where many are accepted.
- *n-fold way* (Bortz, Kalos, Lebowitz 1975): sites are kept in ten classes of equal rate; each step
  is a flip. Fast where few attempts are accepted.

What advances one block is written once, for CPU and GPU: `DEVICE_FUNCTIONS` are compiled here for
the CPU and, the same Python, in `macrodyn.systems.ising.cuda` for the GPU. They therefore take
their arrays, workspaces included, as arguments.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from macrodyn.systems.shared.philox import (
    CHUNK,
    LANE_ATTEMPTS,
    LANE_COUNT,
    LANE_EVENTS,
    fill_words,
    philox_block,
    poisson,
    uniform52,
    uniform_pair,
)

UNIFORMISATION, NFOLD, AUTOMATIC = 0, 1, 2
CLASSES = 10
WORDS = 4 * CHUNK
# Below this mean acceptance a flip of the n-fold way costs less than the attempts it replaces.
NFOLD_ACCEPTANCE = 0.03


def flip_rates(temperature: float, field: float) -> NDArray[np.float64]:
    """Glauber rates of the ten site classes.

    Args:
        temperature: T > 0, in units of the coupling over k_B.
        field: h, in units of the coupling.

    Returns:
        Shape [10]: class 5 * (s + 1) / 2 + (sum of the 4 neighbours + 4) / 2.
    """
    spin, neighbours = np.meshgrid([-1.0, 1.0], [-4.0, -2.0, 0.0, 2.0, 4.0], indexing="ij")
    energy_change = 2.0 * spin * (neighbours + field)
    with np.errstate(over="ignore"):
        return (1.0 / (1.0 + np.exp(energy_change / temperature))).reshape(10)


@njit(cache=True)
def site_tables(rows: int, columns: int, periodic: bool) -> tuple[NDArray, NDArray, NDArray]:
    """Positions of the sites, and of their ghosts, in the padded block.

    Returns:
        Flat padded position of each site, [n]; positions of up to four ghosts of each site, [n, 4],
        filled up with 0, a corner that no site has for a neighbour; the site at each padded
        position, or whose ghost is there, or -1.
    """
    width = columns + 2
    site_at = np.full((rows + 2) * width, -1, dtype=np.int32)
    place = np.empty(rows * columns, dtype=np.int32)
    ghost = np.zeros((rows * columns, 4), dtype=np.int32)
    for r in range(rows):
        for c in range(columns):
            site = r * columns + c
            place[site] = (r + 1) * width + c + 1
            if periodic:
                if r == 0:
                    ghost[site, 0] = (rows + 1) * width + c + 1
                if r == rows - 1:
                    ghost[site, 1] = c + 1
                if c == 0:
                    ghost[site, 2] = (r + 1) * width + columns + 1
                if c == columns - 1:
                    ghost[site, 3] = (r + 1) * width
            site_at[place[site]] = site
            for g in range(4):
                if ghost[site, g] > 0:
                    site_at[ghost[site, g]] = site
    return place, ghost, site_at


@njit(inline="always")
def product(a, b):  # type: ignore[no-untyped-def]
    """Multiply; GPUs replace this, as they would fuse it with a sum and round differently."""
    return a * b


@njit(inline="always")
def _class(x, p, width):  # type: ignore[no-untyped-def]
    neighbours = x[p - 1] + x[p + 1] + x[p - width] + x[p + width]
    # Without int() the CUDA simulator, whose scalars are NumPy's, would go on in 8 bits.
    return int(5 * ((x[p] + 1) >> 1) + ((neighbours + 4) >> 1))


@njit(inline="always")
def _flip(x, p, ghosts, site):  # type: ignore[no-untyped-def]
    value = -x[p]
    x[p] = value
    # Sites away from the edge write to the corner 0, which is cheaper than to ask.
    x[ghosts[site, 0]] = value
    x[ghosts[site, 1]] = value
    x[ghosts[site, 2]] = value
    x[ghosts[site, 3]] = value


@njit(inline="always")
def mirror(x, place, ghosts):  # type: ignore[no-untyped-def]
    """Set the rim of a periodic block to what it mirrors."""
    for s in range(place.size):
        for g in range(4):
            if ghosts[s, g] > 0:
                x[ghosts[s, g]] = x[place[s]]


@njit(inline="always")
def accepts_few(x, width, place, rates):  # type: ignore[no-untyped-def]
    """Whether the block's mean rate is so low that the n-fold way is the faster algorithm."""
    total = 0.0
    for s in range(place.size):
        total += rates[_class(x, place[s], width)]
    return total < NFOLD_ACCEPTANCE * place.size


@njit(inline="always")
def make_attempts(
    x: NDArray,
    width: int,
    place: NDArray,
    ghosts: NDArray,
    thresholds: NDArray,
    attempts: int,
    key: np.uint64,
    words: NDArray,
) -> int:
    """Make a number of attempts on one padded block, in place: uniformisation.

    Args:
        x: Padded spins, flat, int8.
        width: Padded sites in a row.
        place: Padded position of each site, [n].
        ghosts: Ghost positions, [n, 4].
        thresholds: Flip probabilities of the ten classes times 2^32, uint64.
        attempts: Number of attempts.
        key: 64-bit key of the stream.
        words: Workspace, [WORDS], uint32.

    Returns:
        The number of flips.
    """
    sites = np.uint64(place.size)
    # Words whose product with n has a low half below this would favour some sites: not used.
    unused = np.uint64((np.uint64(2**32) - sites) % sites)
    counter = np.uint64(0)
    flips = 0
    left = attempts
    while left > 0:
        blocks = min(CHUNK, (left + 1) // 2)
        fill_words(words, key, LANE_ATTEMPTS, counter, blocks)
        counter += np.uint64(blocks)
        for a in range(2 * blocks):
            if left == 0:
                break
            drawn = np.uint64(words[a]) * sites
            if (drawn & np.uint64(0xFFFFFFFF)) < unused:
                continue
            left -= 1
            site = drawn >> np.uint64(32)
            p = place[site]
            if np.uint64(words[2 * blocks + a]) < thresholds[_class(x, p, width)]:
                _flip(x, p, ghosts, site)
                flips += 1
    return flips


@njit(cache=True)
def uniformisation(
    x: NDArray,
    width: int,
    place: NDArray,
    ghosts: NDArray,
    thresholds: NDArray,
    attempts: int,
    key: np.uint64,
) -> int:
    """`make_attempts` in its own workspace, which is faster on a CPU than in one passed to it."""
    words = np.empty(WORDS, dtype=np.uint32)
    return make_attempts(x, width, place, ghosts, thresholds, attempts, key, words)


@njit(cache=True)
def nfold_way(
    x: NDArray,
    width: int,
    place: NDArray,
    ghosts: NDArray,
    site_at: NDArray,
    rates: NDArray,
    duration: float,
    events: int,
    key: np.uint64,
    members: NDArray,
    count: NDArray,
    cls: NDArray,
    slot: NDArray,
) -> tuple[int, float]:
    """Advance one padded block flip by flip, in place.

    Args:
        x: Padded spins, flat, int8.
        width: Padded sites in a row.
        place: Padded position of each site, [n].
        ghosts: Ghost positions, [n, 4].
        site_at: Site at each padded position, or -1.
        rates: Rates of the ten classes.
        duration: Time to advance by, used if ``events`` is negative.
        events: Number of flips to make, or -1.
        key: 64-bit key of the stream.
        members: Workspace for the sites of each class, [10 n], integers.
        count: Workspace for the number of sites in each class, [10], integers.
        cls: Workspace for the class of each site, [n], integers.
        slot: Workspace for the place of each site among its class's members, [n], integers.

    Returns:
        The number of flips and the time that passed.
    """
    sites = place.size
    for c in range(CLASSES):
        count[c] = 0
    for s in range(sites):
        c = _class(x, place[s], width)
        cls[s], slot[s] = c, count[c]
        members[c * sites + count[c]] = s
        count[c] += 1
    time = 0.0
    flips = 0
    counter = np.uint64(0)
    while events < 0 or flips < events:
        total = 0.0
        for c in range(CLASSES):
            total += product(count[c], rates[c])
        if total <= 0.0:
            # Every rate has underflowed to zero: nothing will ever flip.
            return flips, duration if events < 0 else np.inf
        u, v = uniform_pair(key, LANE_EVENTS, counter)
        counter += np.uint64(1)
        wait = -math.log(u) / total
        if events < 0 and time + wait > duration:
            return flips, duration
        time += wait
        target = product(v, total)
        chosen = -1
        for c in range(CLASSES):
            weight = product(count[c], rates[c])
            if weight > 0.0:
                chosen = c
                if target < weight:
                    break
                target -= weight
        index = min(int(target / rates[chosen]), count[chosen] - 1)
        site = members[chosen * sites + index]
        p = place[site]
        _flip(x, p, ghosts, site)
        flips += 1
        for step in (0, -1, 1, -width, width):
            s = site_at[p + step]
            # A ghost's own neighbours include the site's mirror images, so that a flip at the edge
            # of a periodic block reaches the opposite edge through site_at.
            if s >= 0:
                _reclass(x, width, place, members, count, cls, slot, s)
    return flips, time


@njit(inline="always")
def _reclass(x, width, place, members, count, cls, slot, s):  # type: ignore[no-untyped-def]
    old = cls[s]
    new = _class(x, place[s], width)
    if new != old:
        sites = place.size
        last = members[old * sites + count[old] - 1]
        members[old * sites + slot[s]] = last
        slot[last] = slot[s]
        count[old] -= 1
        members[new * sites + count[new]] = s
        cls[s], slot[s] = new, count[new]
        count[new] += 1


# In the order in which they call each other.
DEVICE_FUNCTIONS = (
    philox_block,
    fill_words,
    uniform52,
    uniform_pair,
    product,
    _class,
    _flip,
    _reclass,
    mirror,
    accepts_few,
    make_attempts,
    nfold_way,
)


@njit(cache=True)
def flip_thresholds(rates: NDArray) -> NDArray:
    """Flip probabilities of the ten classes times 2^32, uint64."""
    thresholds = np.empty(CLASSES, dtype=np.uint64)
    for c in range(CLASSES):
        thresholds[c] = np.uint64(np.round(rates[c] * 2.0**32))
    return thresholds


@njit(parallel=True, cache=True)
def draw_attempts(mean: float, keys: NDArray) -> NDArray:
    """Number of attempts of uniformisation in each block: [batch].

    Args:
        mean: Duration times the number of sites.
        keys: One stream per block, [batch], uint64.
    """
    attempts = np.empty(keys.size, dtype=np.int64)
    for b in prange(keys.size):
        attempts[b] = poisson(mean, keys[b], LANE_COUNT)
    return attempts


@njit(parallel=True, cache=True)
def advance(
    blocks: NDArray,
    periodic: bool,
    rates: NDArray,
    duration: float,
    events: int,
    keys: NDArray,
    algorithm: int,
) -> tuple[NDArray, NDArray, NDArray]:
    """Advance a batch of padded blocks in place, one thread a block at a time.

    Args:
        blocks: Spins with a rim of one, [batch, rows + 2, columns + 2], int8.
        periodic: Whether the rim mirrors the block (it is then set here) or is frozen.
        rates: Rates of the ten classes.
        duration: Time to advance by.
        events: Number of flips to make instead, or -1.
        keys: One stream per block, [batch], uint64.
        algorithm: UNIFORMISATION, NFOLD or AUTOMATIC, which chooses by each block's own mean rate.

    Returns:
        Elapsed time [batch], site updates (attempts, or flips of the n-fold way) [batch], flips
        [batch].
    """
    batch, height, width = blocks.shape
    rows, columns = height - 2, width - 2
    sites = rows * columns
    place, ghosts, site_at = site_tables(rows, columns, periodic)
    thresholds = flip_thresholds(rates)
    elapsed = np.empty(batch, dtype=np.float64)
    updates = np.empty(batch, dtype=np.int64)
    flips = np.empty(batch, dtype=np.int64)
    for b in prange(batch):
        x = blocks[b].reshape(height * width)
        corner = x[0]
        if periodic:
            mirror(x, place, ghosts)
        use_nfold = events >= 0 or algorithm == NFOLD
        if algorithm == AUTOMATIC and events < 0:
            use_nfold = accepts_few(x, width, place, rates)
        if use_nfold:
            members = np.empty(CLASSES * sites, dtype=np.int32)
            count = np.empty(CLASSES, dtype=np.int64)
            cls = np.empty(sites, dtype=np.int8)
            slot = np.empty(sites, dtype=np.int32)
            f, t = nfold_way(
                x,
                width,
                place,
                ghosts,
                site_at,
                rates,
                duration,
                events,
                keys[b],
                members,
                count,
                cls,
                slot,
            )
            elapsed[b], updates[b], flips[b] = t, f, f
        else:
            attempts = poisson(duration * sites, keys[b], LANE_COUNT)
            f = uniformisation(x, width, place, ghosts, thresholds, attempts, keys[b])
            elapsed[b], updates[b], flips[b] = duration, attempts, f
        x[0] = corner
    return elapsed, updates, flips


@njit(parallel=True, cache=True)
def measure(states: NDArray) -> NDArray:
    """Magnetisation and domain-wall density of periodic lattices.

    Args:
        states: Spins, [batch, rows, columns], int8.

    Returns:
        [batch, 2]: mean spin; fraction of unlike pairs among the 2 n neighbour bonds.
    """
    batch, rows, columns = states.shape
    result = np.empty((batch, 2), dtype=np.float64)
    for b in prange(batch):
        total = 0
        unlike = 0
        for r in range(rows):
            down = r + 1 if r + 1 < rows else 0
            for c in range(columns):
                s = states[b, r, c]
                right = c + 1 if c + 1 < columns else 0
                total += s
                unlike += (s != states[b, r, right]) + (s != states[b, down, c])
        result[b, 0] = total / (rows * columns)
        result[b, 1] = unlike / (2.0 * rows * columns)
    return result
