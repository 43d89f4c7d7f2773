"""What would fail, or never end, hours later is refused at once, by its key."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from macrodyn.config.load import check_run, make_system, merge
from macrodyn.methods.partial_evolution.config import PartialEvolutionRun
from macrodyn.methods.partial_evolution.limits import check_change, check_events
from macrodyn.systems import PatchSystem, system_class
from macrodyn.systems.registry import BUILT_IN

BASE: dict[str, Any] = {
    "seed": 5,
    "system": {"name": "ising", "parameters": {"temperature": 2.5, "field": 0.1}},
    "sizes": {"small": [4, 4], "large": [8, 8]},
    "simulate": {"groups": 3, "replicas": 4, "times": [0, 1, 4]},
    "upsample": {"snapshots": 2, "relaxation": {"duration": 1, "sweep": 0.5}},
    "evolve": {"dt": 0.25, "lags": [1, 2], "patches": 2},
    "closure": {"dimension": 1},
    "evaluate": {
        "initial": [-0.5, 0.5],
        "replicas": 4,
        "horizons": {"transient": {"spacing": 0.5, "points": 9}},
    },
}
COLD = {"system": {"parameters": {"temperature": 0.001}}}
EVENTS = {"evolve": {"stop": "events"}}
OWN_NEIGHBOUR = "closes on itself within the interaction's range of 1 site(s)"

# What is changed, and the keys with a part of what is said of them.
REFUSED: dict[str, tuple[list[dict[str, Any]], dict[str, str]]] = {
    "polynomials beside themselves": (
        [{"dynamics": {"model": "polynomial"}, "baselines": ["polynomial"]}],
        {"baselines": "polynomial is what ours is already"},
    ),
    "a model that keeps an energy, of one variable": (
        [
            {
                "system": {"name": "curie-weiss", "parameters": {"temperature": 1.1}},
                "closure": {"dimension": 0},
                "dynamics": {"model": "gfinn"},
            }
        ],
        {"dynamics.model": "gfinn needs two free variables or more, and there is 1"},
    ),
    "too few groups for polynomials": (
        [{"simulate": {"groups": 2}, "baselines": ["polynomial"]}],
        {"simulate.groups": "fewer than 2 groups to cross-validate polynomials on"},
    ),
    "small lattice of one site": (
        [{"sizes": {"small": [1, 1]}, "closure": {"dimension": 0}}],
        {"sizes.small": f"the lattice [1, 1] {OWN_NEIGHBOUR}"},
    ),
    "small lattice of one line": (
        [{"sizes": {"small": [1, 8], "patch": [1, 4]}}],
        {"sizes.small": f"the lattice [1, 8] {OWN_NEIGHBOUR}"},
    ),
    "patch of one site": (
        [{"sizes": {"patch": [1, 1]}}],
        {"sizes.patch": "closure.dimension to 0"},
    ),
    "periodic patch of one site": (
        [{"sizes": {"patch": [1, 1]}, "evolve": {"boundary": "periodic"}}],
        {
            "sizes.patch": "closure.dimension to 0",
            "evolve.boundary": f"a periodic patch of [1, 1] {OWN_NEIGHBOUR}",
        },
    ),
    "periodic patch of one line, relaxed": (
        [{"sizes": {"patch": [4, 1]}, "upsample": {"relaxation": {"boundary": "periodic"}}}],
        {"upsample.relaxation.boundary": f"a periodic patch of [4, 1] {OWN_NEIGHBOUR}"},
    ),
    "events that never come": (
        [COLD, EVENTS],
        {"evolve.stop": "events may take inf sweeps each"},
    ),
    "events that come never in a condition": (
        [EVENTS, {"conditions": {"temperature": [2.0, 0.05]}}],
        {"evolve.stop": r"temperature=0.05"},
    ),
    "too short a pair": (
        [{"evolve": {"dt": 1e-12}, "evaluate": {"horizons": {"transient": {"step": 0.5}}}}],
        {"evolve.dt": "1e-12 (sweep) is so short that nothing happens"},
    ),
    "too short a pair, taken for a step": (
        [{"evolve": {"dt": 1e-12}}],
        {
            "evolve.dt": "nothing happens",
            "evaluate.horizons.transient.step": "evolve.dt, 1e-12, as it is left out,",
        },
    ),
    "too short a step": (
        [{"evaluate": {"horizons": {"transient": {"step": 1e-9}}}}],
        {"evaluate.horizons.transient.step": "1e-09 cuts the spacing (0.5) into more"},
    ),
    "too long a horizon": (
        [{"evaluate": {"horizons": {"transient": {"spacing": 1e300, "step": 1e299}}}}],
        {"evaluate.horizons.transient.spacing": "1e+300 makes a horizon too long"},
    ),
    "too short a sweep": (
        [{"upsample": {"relaxation": {"sweep": 1e-300}}}],
        {"upsample.relaxation.sweep": "1e-300 cuts upsample.relaxation.duration (1) into more"},
    ),
    "too long a lag": (
        [{"evolve": {"dt": 1e12, "lags": [1, 10**9]}}],
        {"evolve.lags": "is too long a time"},
    ),
    "weight decay": (
        [{"dynamics": {"weight_decay": 1e9}}],
        {"dynamics.weight_decay": "1e+09 takes away all weights in one step"},
    ),
    "weight decay at the limit": (
        [{"dynamics": {"weight_decay": 10.0, "learning_rate": 0.1}}],
        {"dynamics.weight_decay": "it must be less than 10"},
    ),
    "replicas": ([{"simulate": {"replicas": 10**9}}], {}),
    "more replicas": (
        [{"simulate": {"replicas": 10**9, "groups": 10**4}}],
        {"simulate.replicas": "the small systems would take 480 TB"},
    ),
    "snapshots": (
        [{"upsample": {"snapshots": 10**9}, "simulate": {"groups": 10**4}}],
        {"upsample.snapshots": "the large snapshots would take 1.92e+03 TB"},
    ),
    "points": (
        [{"evaluate": {"horizons": {"transient": {"points": 10**9}}, "replicas": 10**4}}],
        {
            "evaluate.replicas": "the reference trajectories would take 320 TB",
            "evaluate.predicted_replicas": "the predicted trajectories would take 24 TB",
        },
    ),
}
ACCEPTED: dict[str, list[dict[str, Any]]] = {
    "as it is": [],
    "smallest lattice": [{"sizes": {"small": [2, 2]}}],
    "frozen patch of one site without closure": [
        {"sizes": {"patch": [1, 1]}, "closure": {"dimension": 0}}
    ],
    "cold": [COLD],
    "events": [EVENTS],
    "mean field of any size": [
        {"system": {"name": "curie-weiss"}, "sizes": {"small": [1, 2], "large": [1, 4]}}
    ],
    "short pairs": [{"evolve": {"dt": 1e-2}}],
    "strong decay": [{"dynamics": {"weight_decay": 100.0}}],
}


def said(*changes: dict[str, Any]) -> dict[str, str]:
    """What is wrong with the run, by key."""
    content = BASE
    for change in changes:
        content = merge(content, change)
    return dict(check_run(PartialEvolutionRun.model_validate(content)))


@pytest.mark.parametrize(("changes", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_would_fail_later_is_refused(changes, expected):
    found = said(*changes)
    assert found.keys() == expected.keys()
    for key, part in expected.items():
        assert part in found[key]


@pytest.mark.parametrize("changes", ACCEPTED.values(), ids=ACCEPTED)
def test_what_can_be_done_is_accepted(changes):
    assert said(*changes) == {}


@pytest.mark.parametrize(
    ("key", "value", "limit"),
    [
        ("closure.learning_rate", 1.5, "must be at most 1"),
        ("dynamics.learning_rate", 1e9, "must be at most 1"),
        ("dynamics.members", 10**10, "must be at most 1000000000"),
        ("seed", 2**63, f"must be at most {2**63 - 1}"),
        ("seed", -1, "must be at least 0"),
    ],
)
def test_one_key_decides(key, value, limit):
    from pydantic import ValidationError

    from macrodyn.config.errors import problems

    section, _, name = key.rpartition(".")
    content = merge(BASE, {section: {name: value}} if section else {name: value})
    with pytest.raises(ValidationError) as caught:
        PartialEvolutionRun.model_validate(content)
    assert problems(caught.value, content)[key].startswith(limit)


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12], ids=["picoseconds", "sweeps", "long"])
def test_time_of_a_pair_is_judged_by_what_happens_in_any_unit(monkeypatch, unit):
    """A system whose sites flip once in each unit of its own time."""
    ising = system_class("ising")

    class InOtherUnits(ising):
        def evolve(self, states, duration, seeds):
            return super().evolve(states, duration / unit, seeds)

    def told(dt):
        content = merge(BASE, {"system": {"name": "own:System"}, "evolve": {"dt": dt * unit}})
        run = PartialEvolutionRun.model_validate(content)
        return dict(check_change(run, InOtherUnits(make_ising_parameters())))

    assert told(0.25) == {} and told(1e-2) == {}
    assert told(1e-9).keys() == {"evolve.dt"}


def make_ising_parameters():
    return system_class("ising").Parameters(temperature=2.5)


def test_error_of_own_code_in_the_trial_is_its_own():
    ising = system_class("ising")

    class Raising(ising):
        def evolve(self, states, duration, seeds):
            raise ArithmeticError("rates are negative")

    run = PartialEvolutionRun.model_validate(merge(BASE, {"system": {"name": "own:Raising"}}))
    found = dict(check_change(run, Raising(make_ising_parameters())))
    assert re.search("Raising raises ArithmeticError: rates are negative", found["system.name"])


@pytest.mark.parametrize("name", ["ising", "curie-weiss"])
@pytest.mark.parametrize(("temperature", "field"), [(2.5, 0.1), (1.0, -0.5)])
def test_longest_wait_is_that_of_the_slowest_flip(name, temperature, field):
    """Of a spin that agrees with its surroundings and the field."""
    parameters = {"temperature": temperature, "field": field}
    content = merge(BASE, {"system": {"name": name, "parameters": parameters}})
    system = make_system(PartialEvolutionRun.model_validate(content))
    neighbours = {"ising": 4.0, "curie-weiss": 1.0}[name]
    energy = 2 * (neighbours + abs(field))
    assert system.longest_wait() == pytest.approx(1 + math.exp(energy / temperature))


def test_wait_of_a_system_that_does_not_know_it_is_not_judged():
    system = make_system(
        PartialEvolutionRun.model_validate({**BASE, "system": {"name": "predator-prey"}})
    )
    assert system.longest_wait() is None
    run = PartialEvolutionRun.model_validate(merge(BASE, EVENTS))
    assert list(check_events(run, system)) == []


def test_all_built_in_systems_with_events_know_their_wait():
    classes = {name: system_class(name) for name in BUILT_IN}
    for name, cls in ((n, c) for n, c in classes.items() if issubclass(c, PatchSystem)):
        knows = cls.longest_wait is not system_class("predator-prey").longest_wait
        assert knows == ("events" in cls.stops), name


def test_patch_that_waits_for_ever_is_named_while_it_evolves(make_ising):
    from macrodyn.lattice import PatchGeometry
    from macrodyn.sampling.cost import Cost
    from macrodyn.sampling.evolve import evolve_patches
    from macrodyn.streams import seeds

    states = np.ones((2, 1, 8, 8), dtype=np.int8)
    with pytest.raises(ValueError, match=r"set evolve\.stop to time"):
        evolve_patches(
            make_ising(temperature=0.001),
            states,
            PatchGeometry((4, 4), 1),
            number=1,
            dt=0.25,
            lags=[1],
            keys=seeds(0, "test", index=2),
            cost=Cost(),
            events=3,
        )


FEATURES = {
    "too far for naive": (["correlation-3"], "features", "lattice [4, 4] that closes on itself"),
    "one patch": (["moment-2"], "features", "the lattice [4, 4] holds fewer than two patches"),
    "unknown observable": (["generator:energy"], "candidates", "the observables are magnetisation"),
    "too far": (["correlation-5"], "candidates", "lattice [8, 8] that closes on itself, where 4"),
}


@pytest.mark.parametrize(("names", "key", "message"), FEATURES.values(), ids=FEATURES)
def test_features_that_cannot_be_are_refused(names, key, message) -> None:
    assert message in said({"closure": {key: names}})[f"closure.{key}"]


def test_what_is_a_variable_is_no_candidate() -> None:
    closure = {"features": ["generator"], "candidates": ["generator:magnetisation"]}
    message = said({"closure": closure})["closure.candidates"]
    assert message.startswith("generator_magnetisation stands in closure.features already")


def test_features_that_fit_are_accepted() -> None:
    closure = {"features": ["generator", "correlation-2"], "candidates": ["moment-2"]}
    assert said({"closure": closure}) == {}


RATES = {"dynamics": {"covariance_from": "rates"}}


def test_covariance_rates_are_of_observables_alone() -> None:
    told = said({**RATES, "closure": {"dimension": 1}})["dynamics.covariance_from"]
    assert "closure.dimension to 0" in told
    assert (
        "closure.features to []"
        in said({**RATES, "closure": {"dimension": 0, "features": ["generator"]}})[
            "dynamics.covariance_from"
        ]
    )
    assert said({**RATES, "closure": {"dimension": 0}}) == {}


def test_expected_rates_are_of_observables_alone(monkeypatch) -> None:
    from macrodyn.systems.ising import Ising
    from macrodyn.systems.patch_system import PatchSystem

    rates = {"dynamics": {"increments": "rates"}}
    told = said({**rates, "closure": {"dimension": 1}})["dynamics.increments"]
    assert "closure.dimension to 0" in told
    assert said({**rates, "closure": {"dimension": 0}}) == {}
    monkeypatch.setattr(Ising, "expected_rates", PatchSystem.expected_rates)
    told = said({**rates, "closure": {"dimension": 0}})["dynamics.increments"]
    assert "Ising has no method expected_rates: set it to compensated" in told


def test_a_system_must_say_its_covariance_rates(monkeypatch) -> None:
    from macrodyn.systems.ising import Ising
    from macrodyn.systems.patch_system import PatchSystem

    monkeypatch.setattr(Ising, "covariance_rates", PatchSystem.covariance_rates)
    told = said({**RATES, "closure": {"dimension": 0}})["dynamics.covariance_from"]
    assert "Ising has no method covariance_rates: set it to increments" in told


def test_words_that_are_no_features_are_refused() -> None:
    from pydantic import ValidationError

    from macrodyn.config.errors import problems

    content = merge(BASE, {"closure": {"features": ["generator", "energy"]}})
    with pytest.raises(ValidationError) as caught:
        PartialEvolutionRun.model_validate(content)
    (message,) = problems(caught.value, content).values()
    assert message.startswith("must be a feature: generator, correlation-r with a distance r")
