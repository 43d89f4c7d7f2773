"""What is wrong with the methods of an own system is said before any job, with what to do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from macrodyn.config.load import load_study
from macrodyn.lattice import ALONE
from macrodyn.systems import Grid, Observable, PatchSystem, system_class

from .own import DENSITY, STUDY, Own, measured, problems


def test_a_sound_system_is_accepted(monkeypatch):
    assert problems(monkeypatch, {}) == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"evolve": {"dt": 0.5, "patches": 2, "boundary": "periodic"}},
        {"evolve": {"dt": 0.5, "patches": 2, "buffer": 4}},
        {"sizes": {"small": [12], "large": [24]}, "evolve": {"dt": 0.5, "patches": 2}},
    ],
    ids=["periodic patch", "wide buffer", "patch as large as the small size"],
)
def test_a_sound_system_is_accepted_with_other_patches(monkeypatch, changes):
    assert problems(monkeypatch, {}, changes) == ""


def test_patches_narrower_than_the_halo_are_refused(monkeypatch):
    sizes = {"small": [12], "large": [24], "patch": [2]}
    text = problems(monkeypatch, {"halo": 3}, {"sizes": sizes})
    assert "  sizes.patch: the halo of 3 sites is wider than a relaxed patch of 2 along" in text
    assert len(text.splitlines()) == 2
    frozen = {"snapshots": 2, "relaxation": {"duration": 0}}
    assert "relaxed" not in problems(monkeypatch, {"halo": 3}, {"sizes": sizes, "upsample": frozen})


def transposed(self, states):
    return measured(states).T


def one_value(self, states):
    return measured(states)[:, :1]


def nan(self, states):
    return np.full((len(states), 2), math.nan)


def shifted(self, states):
    return np.add(measured(states), (1, 0))


def shifted_in_a_small_unit(self, states):
    return 1e-9 * shifted(self, states)


def as_list(self, states):
    return measured(states).tolist()


def sorting(self, states):
    states.sort(axis=2)
    return measured(states)


def without_channel(self, macrostate, shape, seeds):
    return Own.initial_states(self, macrostate, shape, seeds)[:, 0]


def real_states(self, macrostate, shape, seeds):
    return Own.initial_states(self, macrostate, shape, seeds).astype(float)


def third_species(self, macrostate, shape, seeds):
    states = Own.initial_states(self, macrostate, shape, seeds)
    states[:, 0, 0] = 2
    return states


def evolved_third(self, states, duration, seeds):
    return np.full_like(states, 2)


def in_place(self, states, duration, seeds):
    states ^= self.flips(states.shape, seeds)
    return states


def shortened(self, states, duration, seeds):
    return Own.evolve(self, states, duration, seeds)[..., 1:]


def real_after(self, states, duration, seeds):
    return Own.evolve(self, states, duration, seeds).astype(np.float32)


def patch_in_place(self, windows, patch, duration, seeds, events=None, around=ALONE):
    windows[...], elapsed = Own.evolve_patch(self, windows, patch, duration, seeds)
    return windows, elapsed


def halo_moved(self, windows, patch, duration, seeds, events=None, around=ALONE):
    return windows ^ 1, np.full(len(windows), duration)


def no_times(self, windows, patch, duration, seeds, events=None, around=ALONE):
    return Own.evolve_patch(self, windows, patch, duration, seeds)[0]


def one_time(self, windows, patch, duration, seeds, events=None, around=ALONE):
    return Own.evolve_patch(self, windows, patch, duration, seeds)[0], np.array(duration)


def without_around(self, windows, patch, duration, seeds, events=None):
    return Own.evolve_patch(self, windows, patch, duration, seeds)


def window_cut(self, windows, patch, duration, seeds, events=None, around=ALONE):
    after, elapsed = Own.evolve_patch(self, windows, patch, duration, seeds)
    return patch.cut(after), elapsed


def increment_of_one(self, before, after, patch, around=ALONE):
    return Own.observable_increment(self, before, after, patch)[:, 0]


def increment_in_place(self, before, after, patch, around=ALONE):
    before[:] = after
    return Own.observable_increment(self, before, after, patch)


def rest_of_states(self, states, active):
    return states.mean(axis=(1, 2))[:, None]


def wrong_exact(self, observables, shape):
    return np.zeros_like(observables), np.zeros_like(observables)


METHODS: dict[str, tuple[dict[str, Any], str]] = {
    "states without a channel": (
        {"initial_states": without_channel},
        "initial_states returns shape (3, 12): it should be (3, 1, 12)",
    ),
    "states of another type": (
        {"initial_states": real_states},
        "initial_states returns float64: it should be uint8, the dtype it says",
    ),
    "a species too many": (
        {"initial_states": third_species},
        "initial_states gives species from 0 to 2, but there are 2: number them 0 to 1",
    ),
    "evolve: a species too many": (
        {"evolve": evolved_third},
        "evolve gives species from 2 to 2, but there are 2: number them 0 to 1",
    ),
    "states that are no spins": (
        {"space": Grid("spin", 1)},
        "initial_states gives spins that are neither -1 nor +1",
    ),
    "observe: one observable": ({"observe": one_value}, "observe returns shape (3, 1): it should"),
    "observe: turned": ({"observe": transposed}, "observe returns shape (2, 3): it should be (3"),
    "observe: NaN": ({"observe": nan}, "observe returns numbers that are not finite"),
    "observe: a list": ({"observe": as_list}, "observe returns list: it should be a NumPy array"),
    "observe: out of bounds": ({"observe": shifted}, "observe gives density from "),
    "observe: out of bounds in a small unit": (
        {
            "observe": shifted_in_a_small_unit,
            "observables": (Observable("density", (0.0, 1e-9)), Observable("b", (0.0, 1e-9))),
        },
        "observe gives density from ",
    ),
    "observe: in place": ({"observe": sorting}, "observe changes an array that it is given"),
    "evolve: in place": ({"evolve": in_place}, "evolve changes an array that it is given: work on"),
    "evolve: shape": ({"evolve": shortened}, "evolve returns shape (3, 1, 11): it should be (3, 1"),
    "evolve: type": ({"evolve": real_after}, "evolve returns float32: it should be uint8"),
    "evolve_patch: in place": (
        {"evolve_patch": patch_in_place},
        "evolve_patch changes an array that it is given",
    ),
    "evolve_patch: halo": ({"evolve_patch": halo_moved}, "evolve_patch changes the frozen halo"),
    "evolve_patch: no times": ({"evolve_patch": no_times}, "evolve_patch does not return a pair"),
    "evolve_patch: one time": (
        {"evolve_patch": one_time},
        "evolve_patch (elapsed times) returns shape (): it should be (6,)",
    ),
    "evolve_patch: no surroundings": (
        {"evolve_patch": without_around},
        "unexpected keyword argument 'around'",
    ),
    "evolve_patch: patch for window": (
        {"evolve_patch": window_cut},
        "evolve_patch returns shape (6, 1, 6): it should be (6, 1, 10)",
    ),
    "observe_patch: turned": (
        {"observe_patch": transposed},
        "observe_patch returns shape (2, 6): it should be (6, 2)",
    ),
    "observable_increment: one": (
        {"observable_increment": increment_of_one},
        "observable_increment returns shape (6,): it should be (6, 2)",
    ),
    "observable_increment: in place": (
        {"observable_increment": increment_in_place},
        "observable_increment changes an array that it is given",
    ),
    "rest: of states": (
        {"rest": rest_of_states, "long_range": True},
        "rest returns shape (3, 1) for 3 states with 2 patches each",
    ),
    "exact_moments: covariance": (
        {"exact_moments": wrong_exact},
        "exact_moments (covariance) returns shape (3, 2): it should be (3, 2, 2)",
    ),
    "labels that are no TeX": (
        {"observables": (Observable("density", label=r"density $\nothing$"), Observable("b"))},
        "the label of density cannot be drawn: ",
    ),
}


@pytest.mark.parametrize(("members", "message"), METHODS.values(), ids=METHODS)
def test_wrong_method_is_named(monkeypatch, members, message):
    text = problems(monkeypatch, members)
    assert "  system.name: Own: " in text
    assert message in text
    assert ";" not in text, "one mistake is reported as several"


def raising(error: Exception):
    def method(self, *arguments, **named):
        raise error

    return method


@pytest.mark.parametrize(
    "error",
    [KeyError("rate"), ZeroDivisionError("division"), RuntimeError("two\nlines"), OSError("disk")],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize(
    "method",
    [
        *("__init__", "initial_states", "evolve", "evolve_patch", "observe", "observe_patch"),
        *("observable_increment", "rest", "exact_moments"),
    ],
)
def test_error_of_own_code_is_said_with_its_place(monkeypatch, method, error):
    text = problems(monkeypatch, {method: raising(error)})
    line = raising.__code__.co_firstlineno + 2
    words = " ".join(str(error).split())
    assert f"raises {type(error).__name__}: {words} ({__file__}:{line})" in text


def test_error_under_a_condition_is_said(monkeypatch):
    def init(self, parameters, **named):
        PatchSystem.__init__(self, parameters, **named)
        self.period = 1 / parameters.rate

    text = problems(monkeypatch, {"__init__": init}, {"conditions": {"rate": [1.0, 0.0]}})
    assert "  conditions.rate: Own raises ZeroDivisionError: float division by zero (" in text


def test_refusal_of_a_macrostate_stays_one_of_the_configuration(monkeypatch):
    """A ValueError is what a system refuses a macrostate with."""
    error = ValueError("no such density")
    text = problems(monkeypatch, {"initial_states": raising(error)})
    assert "  simulate.initial_range: no such density\n" in text
    assert "system.name" not in text


def test_ends_of_a_lattice_may_be_written_to(monkeypatch):
    """What lies beyond an end is thrown away, so that it is no halo that must stay."""

    def ends_filled(self, windows, patch, duration, seeds, events=None, around=ALONE):
        after, elapsed = Own.evolve_patch(self, windows, patch, duration, seeds)
        for window, ((low, high),) in zip(after, around.outside, strict=True):
            window[..., :low] = 7
            window[..., window.shape[-1] - high :] = 7
        return after, elapsed

    members = {"periodic": False, "evolve_patch": ends_filled, **DENSITY}
    assert problems(monkeypatch, members) == ""


def test_methods_of_built_in_systems_are_not_tried(monkeypatch):
    """Their kernels would be compiled for it."""
    ising = system_class("ising")
    monkeypatch.setattr(ising, "evolve", raising(AssertionError("was called")))
    content = {**STUDY, "system": {"name": "ising", "parameters": {"temperature": 2.5}}}
    content["sizes"] = {"small": [6, 6], "large": [12, 12]}
    assert load_study(content).name == "own"


def test_what_must_be_prepared_is_not_tried(monkeypatch):
    """It is so by jobs: nothing but initial states can be asked for before."""

    def prepare(cls, parameters, planner):
        return {}

    called = raising(AssertionError("was called"))
    members = {"evolve": called, "longest_wait": called, "stops": ("time", "events")}
    prepared = {"prepare": classmethod(prepare), **members}
    assert problems(monkeypatch, prepared) == ""
    evolve = {"dt": 0.5, "patches": 2, "stop": "events"}
    assert problems(monkeypatch, prepared, {"evolve": evolve}) == ""
    assert "evolve raises AssertionError: was called" in problems(monkeypatch, members)
