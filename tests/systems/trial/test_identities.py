"""Increments that are not K times what the whole changes are found out before any job."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from macrodyn.lattice import ALONE, PatchGeometry
from macrodyn.systems import Grid, Observable, PatchSystem, registry, system_class
from macrodyn.systems.trial.case import Case
from macrodyn.systems.trial.identities import tiled, trial_lattice
from macrodyn.systems.trial.methods import Trial
from tests.wiring.test_parameters import prepared

from .own import DENSITY, Own, measured, problems

EVOLVE: dict[str, dict[str, Any]] = {
    "frozen": {"dt": 0.5, "patches": 2},
    "buffer": {"dt": 0.5, "patches": 2, "buffer": 2},
    "periodic": {"dt": 0.5, "patches": 2, "boundary": "periodic"},
}


def wrapped(self, before, after, patch, around=ALONE):
    return measured(patch.cut(after)) - measured(patch.cut(before))


def without_edge(self, before, after, patch, around=ALONE):
    def inside(windows):
        x = patch.cut(windows)[:, 0]
        return np.stack([x.mean(axis=1), (x[:, 1:] != x[:, :-1]).mean(axis=1)], axis=1)

    return inside(after) - inside(before)


def without_k(self, before, after, patch, around=ALONE):
    return Own.observable_increment(self, before, after, patch) / 4


def with_buffer(self, before, after, patch, around=ALONE):
    def measure(windows):
        x = windows[:, 0, patch.margin - 1 : patch.margin + patch.shape[0] + 1]
        unlike = (x[:, 1:] != x[:, :-1]).sum(axis=1) / patch.shape[0]
        return np.stack([x[:, 1:-1].mean(axis=1), unlike], axis=1)

    return measure(after) - measure(before)


def of(measure, name="other"):
    """An observable of whole states, its increment measured in the patch."""
    return {
        "observables": (Observable(name, (-10.0, 10.0)),),
        "observe": lambda self, states: measure(states),
        "observe_patch": lambda self, patches: measure(patches),
        "observable_increment": lambda self, before, after, patch, around=ALONE: (
            measure(patch.cut(after)) - measure(patch.cut(before))
        ),
    }


def longest(states):
    """Length of the longest run of infected sites from the first on: no mean of local terms."""
    return np.cumprod(states[:, 0], axis=1).sum(axis=1, keepdims=True) / states.shape[2]


def farther(states):
    """Unlike pairs at distance 2, where the halo is 1."""
    x = states[:, 0]
    return (x != np.roll(x, 2, axis=1)).mean(axis=1, keepdims=True)


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "patch wrapped onto itself": (
        {"observable_increment": wrapped},
        "frozen",
        "for boundaries where one of K = 2 patches has moved",
    ),
    "pairs across the edge dropped": (
        {"observable_increment": without_edge},
        "frozen",
        "count what crosses the patch's edge in full",
    ),
    "pairs across the edge dropped beside a buffer": (
        {"observable_increment": without_edge},
        "buffer",
        "count what crosses the patch's edge in full",
    ),
    "no K": (
        {"observable_increment": without_k},
        "frozen",
        "for density and boundaries where one of K = 2 patches has moved",
    ),
    "no K in a periodic patch": (
        {"observable_increment": without_k},
        "periodic",
        "density and boundaries of a periodic patch, but observe(after) - observe(before) of it",
    ),
    "the buffer counted": (
        {"observable_increment": with_buffer},
        "buffer",
        "observable_increment counts moves of the buffer for boundaries",
    ),
    "a variance of the whole": (
        of(lambda x: x.var(axis=2), "variance"),
        "frozen",
        "observe: variance is no mean of local terms",
    ),
    "a variance of a periodic patch": (
        of(lambda x: x.var(axis=2), "variance"),
        "periodic",
        "observe: variance is no mean of local terms",
    ),
    "a product of means": (
        of(lambda x: x.mean(axis=2) ** 2, "square"),
        "buffer",
        "observe: square is no mean of local terms",
    ),
    "a run from the first site on": (of(longest), "frozen", "observable_increment gives "),
    "farther than the halo": (of(farther), "frozen", "count what crosses the patch's edge in full"),
}


@pytest.mark.parametrize(("members", "way", "message"), WRONG.values(), ids=WRONG)
def test_wrong_increments_are_found_out(monkeypatch, members, way, message):
    text = problems(monkeypatch, members, {"evolve": EVOLVE[way]})
    assert "  system.name: Own: " in text
    assert message in text
    assert ";" not in text, "one mistake is reported as several"


@pytest.mark.parametrize("way", EVOLVE)
@pytest.mark.parametrize(
    "members",
    [
        {},
        DENSITY,
        {**DENSITY, "periodic": False},
        {**DENSITY, "halo": 0},
        {"space": Grid("species", 1, species=2, dtype=np.uint16)},
    ],
    ids=["pairs", "mean", "with ends", "no halo", "another type"],
)
def test_right_increments_are_accepted(monkeypatch, members, way):
    assert problems(monkeypatch, members, {"evolve": EVOLVE[way]}) == ""


def test_single_precision_is_taken_for_rounding(monkeypatch):
    """Means of float32 sites, in float32: what is lost by it is no wrong physics."""
    mean = of(lambda x: x.mean(axis=2) + np.float32(3), "mean")

    def initial_states(self, macrostate, shape, seeds):
        return Own.initial_states(self, macrostate, shape, seeds).astype(np.float32) / 3

    def evolve(self, states, duration, seeds):
        return states + np.float32(0.1) * self.flips(states.shape, seeds).astype(np.float32)

    def evolve_patch(self, windows, patch, duration, seeds, events=None, around=ALONE):
        after, moving = windows.copy(), (..., *patch.moving)
        after[moving] = evolve(self, after[moving], duration, seeds)
        return after, np.full(len(windows), duration)

    members = {
        **mean,
        "space": Grid("field", 1, dtype=np.float32),
        "initial_states": initial_states,
        "evolve": evolve,
        "evolve_patch": evolve_patch,
    }
    assert problems(monkeypatch, members) == ""


def drawn_together(self, macrostate, shape, seeds):
    rng = np.random.default_rng(seeds)
    return (rng.random((len(seeds), 1, *shape)) < macrostate[:, :1, None]).astype(self.dtype)


def evolved_together(self, states, duration, seeds):
    return states ^ np.random.default_rng(seeds[0]).integers(0, 2, states.shape, self.dtype)


def evolved_globally(self, states, duration, seeds):
    return states ^ np.random.random(states.shape).round().astype(self.dtype)  # noqa: NPY002


def patches_together(self, windows, patch, duration, seeds, events=None, around=ALONE):
    after, moving = windows.copy(), (..., *patch.moving)
    after[moving] = evolved_together(self, after[moving], duration, seeds)
    return after, np.full(len(windows), duration)


def times_together(self, windows, patch, duration, seeds, events=None, around=ALONE):
    after, _ = Own.evolve_patch(self, windows, patch, duration, seeds)
    return after, np.random.default_rng(seeds).random(len(windows))


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        ("initial_states", drawn_together),
        ("evolve", evolved_together),
        ("evolve", evolved_globally),
        ("evolve_patch", patches_together),
        ("evolve_patch", times_together),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
@pytest.mark.parametrize("way", EVOLVE)
def test_random_numbers_of_the_batch_are_found_out(monkeypatch, method, wrong, way):
    text = problems(monkeypatch, {method: wrong}, {"evolve": EVOLVE[way]})
    assert f"Own: {method} makes something else of the same state and seed when it is alone" in text
    assert ";" not in text, "one mistake is reported as several"


# Parameters, small and large size, and ranges of the macrostate.
BUILT_IN: dict[str, tuple[dict[str, Any], tuple[int, ...], tuple[int, ...], list[Any]]] = {
    "ising": ({"temperature": 2.5, "field": 0.1}, (6, 4), (12, 8), [(-0.5, 0.5)]),
    "curie-weiss": ({"temperature": 0.8}, (4, 2), (12, 8), [(-0.5, 0.5)]),
    "predator-prey": ({}, (12,), (36,), [(0.4, 0.6), (0.1, 0.3)]),
    "nbmota": (
        {"sites_per_vacancy": 40, "barriers": "trained"},
        (4, 4, 4),
        (12, 12, 12),
        [(0.0, 0.6)],
    ),
}


def test_all_built_in_systems_of_patches_are_tried():
    loaded = {name: system_class(name) for name in registry.BUILT_IN}
    assert BUILT_IN.keys() == {n for n, cls in loaded.items() if issubclass(cls, PatchSystem)}


@pytest.mark.parametrize("way", EVOLVE)
@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_systems_satisfy_the_identities(name, way):
    parameters, small, large, initial = BUILT_IN[name]
    cls = system_class(name)
    case = Case(
        system=name,
        parameters=parameters,
        ranges=tuple((low, high) for low, high in initial),
        small=small,
        large=large,
        patch=small,
        buffer=0 if way == "periodic" else 1 if way == "buffer" else cls.least_buffer,
        boundary="periodic" if way == "periodic" else "frozen",
        duration=EVOLVE[way]["dt"],
        events=False,
    )
    system = cls(cls.Parameters.model_validate(parameters), prepared=prepared(name))
    assert Trial(system).run(case) == []


@pytest.mark.parametrize(
    ("geometry", "large", "lattice"),
    [
        (PatchGeometry((6,)), (24,), (12,)),
        (PatchGeometry((6,), buffer=4), (24,), (18,)),
        (PatchGeometry((6, 4), halo=3), (24, 4), (12, 4)),
        (PatchGeometry((6, 4), boundary="periodic"), (24, 16), (12, 8)),
    ],
    ids=["two", "as many as the window needs", "no more than there are", "periodic"],
)
def test_lattice_of_a_trial(geometry, large, lattice):
    assert trial_lattice(geometry, large) == lattice
    states = np.arange(24.0).reshape(1, 1, *((24,) if len(large) == 1 else (6, 4)))
    assert tiled(states, lattice).shape == (1, 1, *lattice)
