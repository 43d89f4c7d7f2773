"""Relaxation: it keeps the Gibbs distribution and gives every site its time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import gammaln, logsumexp

from macrodyn.lattice import ALONE, PatchGeometry
from macrodyn.sampling import relax as relax_module
from macrodyn.sampling.cost import Cost
from macrodyn.sampling.relax import Relaxation, relax
from macrodyn.streams import seeds
from macrodyn.systems import Grid, Observable, Parameters, PatchSystem
from macrodyn.systems.curie_weiss import CurieWeiss


@pytest.mark.parametrize(
    ("shape", "patch", "duration", "sweep"),
    [
        pytest.param((4, 4), (2, 2), 6.0, 1.0, id="4x4-by-2x2"),
        pytest.param((4, 4), (2, 2), 10.0, 10.0, id="4x4-one-long-sweep"),
        pytest.param((4, 4), (4, 2), 6.0, 1.0, id="patch-fills-an-axis"),
        pytest.param((2, 6), (2, 2), 6.0, 1.0, id="three-patches-in-a-row"),
        pytest.param((3, 4), (1, 2), 4.0, 0.5, id="odd-count"),
        pytest.param((3, 3), (3, 3), 4.0, 0.5, id="one-patch"),
    ],
)
def test_relaxation_keeps_the_gibbs_distribution(
    boltzmann, chi_square, make_ising, shape, patch, duration, sweep
):
    states, probability, classes = boltzmann(shape, 2.5, 0.1)
    n, bits = 60_000, 1 << np.arange(np.prod(shape))
    drawn = np.random.default_rng(3).choice(len(states), n, p=probability)
    relaxed = relax(
        make_ising(2.5, 0.1),
        states[drawn],
        PatchGeometry(patch),
        Relaxation(duration, sweep),
        seeds(1, "relax", index=n),
        Cost(),
    )
    numbers = (relaxed.reshape(n, -1) > 0) @ bits
    assert np.mean(numbers != drawn) > 0.5
    by_class = np.bincount(classes[numbers], minlength=classes.max() + 1)
    assert chi_square(by_class, np.bincount(classes, probability)) > 1e-4
    assert chi_square(np.bincount(numbers, minlength=len(states)), probability) > 1e-4


def test_relaxation_reaches_the_gibbs_distribution(boltzmann, chi_square, make_ising):
    states, probability, classes = boltzmann((4, 4), 4.0, 0.3)
    n = 15_000
    relaxed = relax(
        make_ising(4.0, 0.3),
        np.repeat(states[:1], n, axis=0),
        PatchGeometry((2, 2)),
        Relaxation(50.0, 0.5),
        seeds(2, "relax", index=n),
        Cost(),
    )
    numbers = (relaxed.reshape(n, -1) > 0) @ (1 << np.arange(16))
    by_class = np.bincount(classes[numbers], minlength=classes.max() + 1)
    assert chi_square(by_class, np.bincount(classes, probability)) > 1e-4


def test_periodic_patches_do_not_keep_it(boltzmann, chi_square, make_ising):
    states, probability, classes = boltzmann((4, 4), 2.5, 0.1)
    n = 60_000
    drawn = np.random.default_rng(3).choice(len(states), n, p=probability)
    relaxed = relax(
        make_ising(),
        states[drawn],
        PatchGeometry((2, 2), 0, 0, "periodic"),
        Relaxation(2.0, 1.0),
        seeds(1, "relax", index=n),
        Cost(),
    )
    numbers = (relaxed.reshape(n, -1) > 0) @ (1 << np.arange(16))
    by_class = np.bincount(classes[numbers], minlength=classes.max() + 1)
    assert chi_square(by_class, np.bincount(classes, probability)) < 1e-8


@pytest.mark.parametrize(
    ("lattice", "patch"),
    [((12,), (3,)), ((15,), (5,)), ((60, 48), (20, 12)), ((6, 9), (6, 3)), ((4, 6, 6), (2, 2, 3))],
    ids=str,
)
@pytest.mark.parametrize("boundary", ["frozen", "periodic"])
@pytest.mark.parametrize(
    ("duration", "sweep", "sweeps"), [(2.0, 0.5, 4), (1.0, 0.3, 4), (0.2, 0.5, 1), (4.5, 0.5, 9)]
)
def test_every_site_gets_the_same_time(
    make_clock, lattice, patch, boundary, duration, sweep, sweeps
):
    relaxation = Relaxation(duration, sweep)
    assert relaxation.sweeps == sweeps
    system, cost = make_clock(len(lattice)), Cost()
    geometry = PatchGeometry(patch, 1 if boundary == "frozen" else 0, 0, boundary)
    states = np.zeros((3, 1, *lattice))
    relaxed = relax(system, states, geometry, relaxation, seeds(1, "c", index=3), cost)
    np.testing.assert_allclose(relaxed, duration, rtol=1e-12)
    assert not states.any()
    assert cost.site_updates == pytest.approx(3 * np.prod(lattice) * duration)
    assert all(d == pytest.approx(duration / sweeps) for _, d, _ in system.calls)


@pytest.mark.parametrize(
    ("lattice", "offsets"),
    [
        pytest.param((12,), [(0,), (2,), (0,)], id="1d"),
        pytest.param((8, 12), [(0, 0), (2, 2)], id="2d-both-axes-shifted"),
        pytest.param((8, 12), [(0, 0), (2, 2), (2, 0), (0, 2), (0, 0)], id="2d-all-offsets"),
    ],
)
def test_each_pass_shifts_the_patches_by_half_a_side(make_clock, lattice, offsets):
    """Patches of side 4 mark their first site."""
    first_site = (..., *(1,) * len(lattice))

    def mark(windows, patch, duration, seeds, events=None, around=ALONE):
        after = windows.copy()
        after[first_site] += 1
        return after, np.full(len(windows), duration)

    system = make_clock(len(lattice))
    system.evolve_patch = mark
    marked = relax(
        system,
        np.zeros((1, 1, *lattice)),
        PatchGeometry((4,) * len(lattice)),
        Relaxation(float(len(offsets)), 1.0),
        seeds(1, "c", index=1),
        Cost(),
    )
    expected = np.zeros(lattice)
    for offset in offsets:
        expected[tuple(slice(first, None, 4) for first in offset)] += 1
    np.testing.assert_array_equal(marked[0, 0], expected)


def test_no_stream_is_used_twice(make_clock):
    system = make_clock(2)
    relax(
        system,
        np.zeros((5, 1, 12, 18)),
        PatchGeometry((4, 6)),
        Relaxation(4.0, 0.5),
        seeds(1, "c", index=5),
        Cost(),
    )
    assert len(system.keys) == 5 * 8 * 9
    assert len(set(system.keys)) == len(system.keys)


def test_no_duration_changes_nothing(make_ising):
    states = np.where(np.random.default_rng(1).random((3, 1, 8, 8)) < 0.5, 1, -1).astype(np.int8)
    cost = Cost()
    same = relax(
        make_ising(),
        states,
        PatchGeometry((4, 4)),
        Relaxation(0.0, 0.5),
        seeds(1, "x", index=3),
        cost,
    )
    np.testing.assert_array_equal(same, states)
    assert same is not states and not np.shares_memory(same, states)
    assert cost.site_updates == 0


def test_result_does_not_depend_on_batch_or_chunk(make_ising, monkeypatch):
    system = make_ising()
    states = np.where(np.random.default_rng(1).random((11, 1, 60, 48)) < 0.5, 1, -1)
    states = states.astype(np.int8)
    keys = seeds(4, "x", index=11)

    def run(which):
        relaxation, patch = Relaxation(1.5, 0.5), PatchGeometry((20, 12))
        return relax(system, states[which], patch, relaxation, keys[which], Cost())

    whole = run(np.arange(11))
    np.testing.assert_array_equal(run(np.array([7, 2])), whole[[7, 2]])
    monkeypatch.setattr(relax_module, "_WINDOW_BYTES", 5000)
    np.testing.assert_array_equal(run(np.arange(11)), whole)


def test_short_sweeps_are_the_dynamics_of_the_whole(make_ising):
    # (m, rho) at t = 1 from independent spins: each sweep errs by its own length.
    system, n = make_ising(2.5, 0.1), 3000
    start = system.initial_states(np.full(n, 0.4), (16, 16), seeds(1, "s", index=n))
    whole = system.observe(system.evolve(start, 1.0, seeds(1, "whole", index=n)))
    relaxed = relax(
        system,
        start,
        PatchGeometry((8, 8)),
        Relaxation(1.0, 0.05),
        seeds(1, "patches", index=n),
        Cost(),
    )
    parts = system.observe(relaxed)
    error = np.sqrt((whole.var(axis=0) + parts.var(axis=0)) / n)
    assert np.all(np.abs(whole.mean(axis=0) - parts.mean(axis=0)) < 5 * error + 1e-3)


@pytest.mark.parametrize("sweep", [1.0, 8.0])
def test_relaxation_of_a_mean_field_keeps_its_distribution(sweep):
    """Every patch feels every other: two that moved at once would see each other's old spins."""
    temperature, field, n, samples = 0.8, 0.05, 16, 60_000
    up = np.arange(n + 1)
    m = 2 * up / n - 1
    log_weight = gammaln(n + 1) - gammaln(up + 1) - gammaln(n - up + 1)
    log_weight += n * (m**2 / 2 + field * m) / temperature
    probability = np.exp(log_weight - logsumexp(log_weight))
    rng = np.random.default_rng(4)
    counts = rng.choice(n + 1, samples, p=probability)
    states = np.where(np.arange(n) < counts[:, None], 1, -1).astype(np.int8)
    states = rng.permuted(states, axis=1).reshape(samples, 1, 4, 4)
    relaxed = relax(
        CurieWeiss(CurieWeiss.Parameters(temperature=temperature, field=field)),
        states,
        PatchGeometry((1, 1), halo=0),
        Relaxation(8.0, sweep),
        seeds(1, "relax", index=samples),
        Cost(),
    )
    assert (relaxed != states).mean() > 0.1
    found = np.bincount((relaxed > 0).sum(axis=(1, 2, 3)), minlength=n + 1)
    assert stats.chisquare(found, samples * probability).pvalue > 1e-3


RANGE = 3


class Ring(PatchSystem):
    """Spins of a ring, each coupled to three neighbours on either side, under Glauber dynamics."""

    space = Grid("spin", 1)
    halo = RANGE
    observables = (Observable("magnetisation", (-1.0, 1.0)),)
    Parameters = Parameters
    coupling, field = -0.5, 0.1

    def initial_states(self, macrostate, shape, seeds):
        raise NotImplementedError

    def evolve(self, states, duration, seeds):
        raise NotImplementedError

    def evolve_patch(self, windows, patch, duration, seeds, events=None, around=ALONE):
        """Uniformisation: attempts at rate 1 for each site, by heat bath."""
        x = windows[:, 0].copy()
        rows, (side,) = np.arange(len(x)), patch.active
        rng = np.random.default_rng(seeds)
        attempts = rng.poisson(duration * side, len(x))
        for step in range(attempts.max(initial=0)):
            site = patch.margin - patch.buffer + rng.integers(0, side, len(x))
            near = sum(x[rows, site + d] + x[rows, site - d] for d in range(1, RANGE + 1))
            up = 1 / (1 + np.exp(-2 * (self.coupling * near + self.field)))
            new = np.where(rng.random(len(x)) < up, 1, -1)
            x[rows, site] = np.where(step < attempts, new, x[rows, site])
        return x[:, None], np.full(len(x), duration)

    def observe(self, states):
        return states.mean(axis=2)

    observe_patch = observe

    def observable_increment(self, before, after, patch, around=ALONE):
        return self.observe(patch.cut(after)) - self.observe(patch.cut(before))

    def gibbs(self, length):
        """All states [2**length, 1, length] and their probabilities."""
        x = (np.arange(2**length)[:, None] >> np.arange(length) & 1) * 2 - 1
        pairs = sum((x * np.roll(x, d, 1)).sum(1) for d in range(1, RANGE + 1))
        weight = np.exp(self.coupling * pairs + self.field * x.sum(1))
        return x[:, None].astype(np.int8), weight / weight.sum()


def relaxed_ring_chi_square(side):
    """Chi-square per degree of freedom of a relaxed Gibbs distribution of 8 spins."""
    system, n = Ring(Parameters()), 20_000
    states, probability = system.gibbs(8)
    drawn = np.random.default_rng(3).choice(len(states), n, p=probability)
    keys = seeds(1, "ring", index=n)
    geometry = PatchGeometry((side,), RANGE)
    relaxed = relax(system, states[drawn], geometry, Relaxation(4.0, 1.0), keys, Cost())
    numbers = (relaxed[:, 0] > 0) @ (1 << np.arange(8))
    assert np.mean(numbers != drawn) > 0.3
    expected = n * probability
    return np.sum((np.bincount(numbers, minlength=256) - expected) ** 2 / expected) / 255


def test_patches_as_wide_as_the_halo_keep_the_gibbs_distribution():
    assert relaxed_ring_chi_square(4) < 1.4


def test_patches_narrower_than_the_halo_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="halo of 3 sites is wider than a relaxed patch of 2"):
        relaxed_ring_chi_square(2)
    # What is refused: patches of one colour see each other.
    monkeypatch.setattr(relax_module, "relaxed_patch", lambda system, patch, lattice: patch)
    assert relaxed_ring_chi_square(2) > 3


def relaxed_geometry(patch, lattice, *, halo, periodic=True, long_range=False, **changes):
    system = Ring(Parameters())
    system.periodic, system.long_range = periodic, long_range
    return relax_module.relaxed_patch(system, PatchGeometry(patch, halo, **changes), lattice)


@pytest.mark.parametrize(
    ("patch", "lattice", "halo", "kind"),
    [
        pytest.param((4, 6), (4, 12), 3, {}, id="cut because it fills an axis"),
        pytest.param((3,), (9,), 4, {}, id="three patches"),
        pytest.param((1, 4), (1, 8), 1, {}, id="an axis of one site"),
        pytest.param((2,), (8,), 3, {"periodic": False}, id="with ends"),
        pytest.param((4,), (8,), 5, {"long_range": True}, id="in turn, but onto itself"),
    ],
)
def test_relaxation_refuses_halos_in_which_something_moves(patch, lattice, halo, kind):
    with pytest.raises(ValueError, match="patches that move at the same time would see each other"):
        relaxed_geometry(patch, lattice, halo=halo, **kind)


@pytest.mark.parametrize(
    ("patch", "lattice", "halo", "kind", "sides"),
    [
        pytest.param((4, 6), (4, 12), 2, {}, (2, 6), id="cut because it fills an axis"),
        pytest.param((4,), (8,), 4, {}, (4,), id="as wide as the patch"),
        pytest.param((8,), (8,), 9, {}, (8,), id="one patch: the whole"),
        pytest.param((2,), (8,), 3, {"boundary": "periodic"}, (2,), id="wrapped onto itself"),
        pytest.param((6, 4), (6, 8), 4, {"periodic": False}, (6, 4), id="nothing beyond the ends"),
        pytest.param((2,), (8,), 6, {"long_range": True}, (2,), id="one after the other"),
    ],
)
def test_relaxation_takes_halos_in_which_nothing_moves(patch, lattice, halo, kind, sides):
    assert relaxed_geometry(patch, lattice, halo=halo, **kind).shape == sides


def test_relaxation_refuses_a_buffer():
    with pytest.raises(ValueError, match="without a buffer: set it to 0, not 1"):
        relaxed_geometry((4,), (8,), halo=1, buffer=1)
