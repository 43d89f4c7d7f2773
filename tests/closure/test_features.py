"""Features: their names and bounds, values on whole states, and increments of patches."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from macrodyn.closure import feature_values as module
from macrodyn.closure.evolved import EvolvedPatches
from macrodyn.closure.feature_values import Features
from macrodyn.closure.features import check_features, features_of
from macrodyn.lattice import PatchGeometry, Tiling, gather_each, scatter
from macrodyn.systems import Parameters
from macrodyn.systems.ising import Ising

from .features_own import Alloy, Line, MeanField

ISING = Ising(Ising.Parameters(temperature=2.4, field=0.1))
LINE, ALLOY = Line(Parameters()), Alloy(Parameters())
ALL = ["generator", "correlation-1", "correlation-3", "moment-2", "moment-3:magnetisation"]
FIELD = ["generator", "correlation-1", "correlation-5", "moment-2", "moment-4:mean"]
SPECIES = ["correlation-1", "correlation-2", "moment-2", "moment-3"]
CASES = [
    pytest.param(ISING, (6, 4), (12, 12), ALL, id="spins"),
    pytest.param(ISING, (6, 6), (12, 6), ALL, id="fills an axis, rates by whole states"),
    pytest.param(ISING, (3, 2), (6, 8), ALL, id="half the lattice away"),
    pytest.param(LINE, (6,), (24,), FIELD, id="field, ends"),
    pytest.param(LINE, (2,), (8,), FIELD, id="field, ends, small"),
    pytest.param(ALLOY, (4, 2, 2), (8, 4, 6), SPECIES, id="species, channels, 3d"),
]


def states_of(system, lattice, batch, seed=0):
    rng = np.random.default_rng(seed)
    shape = (batch, system.channels, *lattice)
    if system.kind == "field":
        return rng.normal(0.3, 1.0, shape).astype(np.float32)
    if system.kind == "species":
        return rng.choice(3, size=shape, p=(0.5, 0.3, 0.2)).astype(np.uint8)
    return np.where(rng.random(shape) < 0.4, 1, -1).astype(np.int8)


def evolved(system, patch, lattice, buffer=0, boundary="frozen"):
    """Two patches of each of four states, replaced by others at two lags."""
    geometry = PatchGeometry(patch, system.halo, buffer, boundary)
    origins = Tiling(lattice, patch).origins()
    rows = [[0, -1], [-1, 0], [1, 0], [len(origins) // 2, 1]]
    moved = states_of(system, geometry.active, 4 * 2 * 2, seed=5)
    moved = moved.reshape(4, 2, 2, system.channels, *geometry.active)
    states = states_of(system, lattice, 4)
    return EvolvedPatches(states, system.periodic, geometry, origins[rows], moved)


def replaced(states, origin, block, periodic):
    after = np.ascontiguousarray(states).copy()
    scatter(after, origin[None], block[:, None], periodic)
    return after


def expected_increment(features, part, sample, number, lag):
    """By whole states, with the rule of `PatchGeometry.attribute` written out."""
    patch, periodic = part.geometry, part.periodic
    k = np.prod(part.lattice) / np.prod(patch.shape)
    old, origin = part.states[[sample]], part.origins[sample, number]
    after, before = part.after[[sample], number, lag], part.before[[sample], number]

    def f(*blocks):
        state = old
        for first, block in blocks:
            state = replaced(state, first, block, periodic)
        return features.values(state)[0]

    if patch.buffer == 0:
        return k * (f((origin, after)) - f())
    both = (origin - patch.buffer, part.moved[[sample], number, lag])
    return 0.5 * k * (f((origin, after)) - f() + f(both) - f(both, (origin, before)))


def with_buffers():
    """Cases with every buffer that has room in the lattice."""
    for case, buffer in product(CASES, (0, 1, 2)):
        _, patch, lattice, _ = case.values
        if all(side + 2 * buffer <= n for side, n in zip(patch, lattice, strict=True)):
            yield pytest.param(case, buffer, id=f"{case.id}, buffer {buffer}")


@pytest.mark.parametrize(("case", "buffer"), list(with_buffers()))
def test_increments_are_k_times_what_a_patch_changes(case, buffer):
    system, patch, lattice, names = case.values
    features = Features(system, names, patch)
    part = evolved(system, patch, lattice, buffer)
    found = features.increments(part)
    assert found.shape == (4, 2, 2, len(features.variables))
    for sample, number, lag in np.ndindex(4, 2, 2):
        expected = expected_increment(features, part, sample, number, lag)
        np.testing.assert_allclose(found[sample, number, lag], expected, atol=2e-6)
    assert np.abs(found).max(axis=(0, 1, 2)).min() > 1e-3


@pytest.mark.parametrize(("system", "patch", "lattice", "names"), CASES)
def test_values_site_by_site(system, patch, lattice, names):
    states = states_of(system, lattice, 3)
    features = Features(system, names, patch)
    found = dict(zip(features.variables, features.values(states).T, strict=True))
    assert list(found) == features.variables
    for feature in features.all:
        value = found[feature.variable]
        if feature.kind == "correlation":
            np.testing.assert_allclose(value, pairs(system, states, feature), atol=1e-6)
        elif feature.kind == "moment":
            origins = Tiling(lattice, patch).origins()
            blocks = gather_each(states, np.stack([origins] * 3), patch)
            own = [
                system.observe_patch(blocks[:, k])[:, feature.index] for k in range(len(origins))
            ]
            expected = np.mean(np.power(own, feature.number), axis=0)
            np.testing.assert_allclose(value, expected, atol=1e-12)
        low, high = feature.bounds
        assert (low <= value).all() and (value <= high).all()


def pairs(system, states, feature):
    values, lattice = states[:, feature.index].astype(float), states.shape[2:]
    terms = []
    for site, axis in product(np.ndindex(lattice), range(len(lattice))):
        there = list(site)
        there[axis] += feature.number
        if not system.periodic and there[axis] >= lattice[axis]:
            continue
        there[axis] %= lattice[axis]
        one, other = values[:, *site], values[:, *there]
        terms.append(one == other if system.kind == "species" else one * other)
    return np.mean(terms, axis=0)


def test_generator_is_the_mean_rate_of_change_of_whole_states():
    """By definition: the sum over sites of the rate of a flip times what it changes."""
    states = states_of(ISING, (6, 8), 2)
    found = Features(ISING, ["generator"], (3, 4)).values(states)
    field, temperature = 0.1, 2.4
    expected = np.zeros((2, 2))
    for site in np.ndindex(6, 8):
        spin = states[:, 0, *site].astype(float)
        around = sum(
            np.roll(states[:, 0], shift, axis)[:, *site].astype(float)
            for shift, axis in ((1, 1), (-1, 1), (1, 2), (-1, 2))
        )
        rate = 1 / (1 + np.exp(2 * spin * (around + field) / temperature))
        flipped = states.copy()
        flipped[:, 0, *site] *= -1
        expected += rate[:, None] * (ISING.observe(flipped) - ISING.observe(states))
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("system", [ISING, LINE])
def test_increments_of_periodic_patches_are_their_own(system):
    patch, lattice = ((6, 4), (12, 12)) if system is ISING else ((6,), (24,))
    names = ["generator", "correlation-2", "moment-2"]
    features, part = Features(system, names, patch), evolved(system, patch, lattice, 0, "periodic")
    found = features.increments(part)
    closed = Features(system, names, patch)
    for sample, number in np.ndindex(4, 2):
        new = closed._values(part.after[[sample], number, 1], True)
        old = closed._values(part.before[[sample], number], True)
        np.testing.assert_allclose(found[sample, number, 1], (new - old)[0], atol=1e-9)


@pytest.mark.parametrize("buffer", [0, 2])
def test_shares_of_all_patches_add_up_to_the_change_of_correlations(buffer):
    """Of any two whole states beside buffers as wide as pairs; without, of few changed sites."""
    lattice, patch = (12, 12), (6, 4)
    before, after = (states_of(ISING, lattice, 3, seed) for seed in (0, 9))
    geometry = PatchGeometry(patch, 1, buffer)
    if buffer == 0:
        after = before.copy()
        after[:, :, 5, 3] *= -1
    origins = np.stack([Tiling(lattice, patch).origins()] * 3)
    moved = gather_each(after, origins - buffer, geometry.active)[:, :, None]
    names = ["correlation-1", "correlation-2", "moment-2", *(["generator"] if not buffer else [])]
    features = Features(ISING, names, patch)
    found = features.increments(EvolvedPatches(before, True, geometry, origins, moved))
    change = features.values(after) - features.values(before)
    np.testing.assert_allclose(found[:, :, 0].mean(axis=1), change, atol=1e-9)


def test_long_range_systems_are_measured_whole():
    """Every site's rate changes with the mean field, not only those of the patch."""
    system = MeanField(Parameters())
    features, part = Features(system, ["generator"], (4, 4)), evolved(system, (4, 4), (8, 8))
    found = features.increments(part)
    for sample, number, lag in np.ndindex(4, 2, 2):
        expected = expected_increment(features, part, sample, number, lag)
        np.testing.assert_allclose(found[sample, number, lag], expected, atol=1e-9)


def test_results_do_not_depend_on_the_chunks(monkeypatch):
    features, part = Features(ISING, ALL, (6, 4)), evolved(ISING, (6, 4), (12, 12), 1)
    values, increments, done = features.values(part.states), features.increments(part), []
    monkeypatch.setattr(module, "_SITES", 1)
    np.testing.assert_array_equal(features.values(part.states), values)
    again = features.increments(part, lambda *numbers: done.append(numbers))
    np.testing.assert_array_equal(again, increments)
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_names_and_bounds_of_variables():
    found = features_of(["generator:magnetisation", "correlation-4", "moment-2", "moment-3"], ISING)
    assert {f.variable: f.bounds for f in found} == {
        "generator_magnetisation": (-np.inf, np.inf),
        "correlation_4": (-1, 1),
        "moment_2_magnetisation": (0, 1),
        "moment_2_domain_wall_density": (0, 1),
        "moment_3_magnetisation": (-1, 1),
        "moment_3_domain_wall_density": (0, 1),
    }
    assert [f.variable for f in features_of(["correlation-2"], ALLOY)] == [
        "correlation_2_0",
        "correlation_2_1",
    ]
    assert dict((f.variable, f.bounds) for f in features_of(["moment-2"], ALLOY)) == {
        "moment_2_share": (0, 1),
        "moment_2_other": (0, 1),
    }


@pytest.mark.parametrize(
    ("system", "names", "message"),
    [
        (ISING, ["correlation-0"], "is no feature"),
        (ISING, ["moment-5"], "is no feature"),
        (ISING, ["generator:energy"], "the observables are magnetisation, domain_wall_density"),
        (ISING, ["generator", "generator:magnetisation"], "generator_magnetisation is given twice"),
        (ALLOY, ["generator"], "Alloy does not say its expected rates"),
        (
            ISING,
            ["correlation-4"],
            r"lattice \[6, 12\] that closes on itself",
        ),
        (LINE, ["correlation-6"], r"\[6, 12\] with ends, where 5 is the most"),
        (ISING, ["moment-2"], "holds fewer than two patches"),
    ],
)
def test_what_cannot_be_is_refused(system, names, message):
    with pytest.raises(ValueError, match=message):
        check_features(
            names, system, lattices=[(6, 12), (24, 24)], patch=(6, 12), boundary="frozen"
        )


def test_periodic_patches_are_lattices_too():
    check_features(["correlation-4"], ISING, lattices=[(24, 24)], patch=(6, 6), boundary="frozen")
    with pytest.raises(ValueError, match=r"lattice \[6, 6\] that closes on itself, where 3"):
        check_features(
            ["correlation-4"], ISING, lattices=[(24, 24)], patch=(6, 6), boundary="periodic"
        )


def test_generators_of_related_observables_are_refused(monkeypatch):
    monkeypatch.setattr(Line, "relations", lambda self: (np.array([[1.0, 2.0]]), np.array([1.0])))
    arguments = {"lattices": [(24,)], "patch": (6,), "boundary": "frozen"}
    check_features(["generator:mean"], LINE, **arguments)
    with pytest.raises(ValueError, match="mean, square obey a linear relation"):
        check_features(["generator"], LINE, **arguments)
