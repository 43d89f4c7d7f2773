"""A small system of one's own, and what a study says of it when some of it is changed."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from macrodyn.config.load import ConfigError, load_study
from macrodyn.lattice import ALONE
from macrodyn.streams import generator
from macrodyn.systems import Component, Grid, Observable, Parameters, PatchSystem

STUDY: dict[str, Any] = {
    "study": "own",
    "system": {"name": "own:Own", "parameters": {}},
    "sizes": {"small": [12], "large": [24], "patch": [6]},
    "simulate": {"initial_range": [0.2, 0.8], "groups": 4, "replicas": 2, "times": [0, 1]},
    "upsample": {"snapshots": 2},
    "evolve": {"dt": 0.5, "buffer": 1, "patches": 2},
    "evaluate": {"initial": [0.5], "horizons": {"short": {"spacing": 1, "points": 3}}},
    "runs": {"only": {}},
}


class Spread(Parameters):
    rate: float = Field(default=1.0, ge=0)


def measured(states):
    x = states[:, 0]
    return np.stack([x.mean(axis=1), (x != np.roll(x, 1, axis=1)).mean(axis=1)], axis=1)


class Own(PatchSystem):
    """Sites 0 and 1 on a ring that flip independently, each with a probability of 1/2."""

    space = Grid("species", 1, species=2)
    observables = (Observable("density", (0.0, 1.0)), Observable("boundaries", (0.0, 1.0)))
    macrostate = (Component("density", 0.0, 1.0),)
    Parameters = Spread

    def initial_states(self, macrostate, shape, seeds):
        draws = [generator(int(key), "own").random((1, *shape)) for key in seeds]
        return (np.stack(draws) < macrostate[:, :1, None]).astype(self.dtype)

    def evolve(self, states, duration, seeds):
        return states ^ self.flips(states.shape, seeds, states.dtype)

    def evolve_patch(self, windows, patch, duration, seeds, events=None, around=ALONE):
        after = windows.copy()
        moving = (..., *patch.moving)
        after[moving] ^= self.flips(after[moving].shape, seeds, after.dtype)
        return after, np.full(len(windows), duration)

    def observe(self, states):
        return measured(states)

    def observe_patch(self, patches):
        return measured(patches)

    def observable_increment(self, before, after, patch, around=ALONE):
        if patch.boundary == "periodic":
            return measured(after) - measured(before)

        def measure(windows):
            x = windows[:, 0, patch.margin - 1 : patch.margin + patch.shape[0] + 1]
            unlike = (x[:, 1:] != x[:, :-1]).sum(axis=1) / patch.shape[0]
            return np.stack([x[:, 1:-1].mean(axis=1), unlike], axis=1)

        return patch.attribute(measure, before, after)

    @staticmethod
    def flips(shape, seeds, dtype=np.uint8):
        draws = [generator(int(key), "flips").integers(0, 2, shape[1:]) for key in seeds]
        return np.stack(draws).astype(dtype)


def problems(
    monkeypatch,
    members: dict[str, Any],
    changes: dict[str, Any] | None = None,
    base_class: type = PatchSystem,
) -> str:
    """What a study says that runs `Own` with some members replaced, or removed where REMOVED."""
    base = dict(vars(Own))
    for name in ("__dict__", "__weakref__", "__abstractmethods__", "_abc_impl"):
        base.pop(name, None)
    cls = type(
        "Own", (base_class,), {k: v for k, v in {**base, **members}.items() if v is not REMOVED}
    )
    monkeypatch.setattr("macrodyn.config.load.system_class", lambda _: cls)
    content = {**STUDY, **(changes or {})}
    try:
        load_study(content)
    except ConfigError as error:
        return str(error)
    return ""


REMOVED = object()


def density(states):
    return states.mean(axis=2)


def density_increment(self, before, after, patch, around=ALONE):
    return density(patch.cut(after)) - density(patch.cut(before))


# The same system with one observable, which knows no pairs of sites.
DENSITY: dict[str, Any] = {
    "observables": (Observable("density", (0.0, 1.0)),),
    "observe": lambda self, states: density(states),
    "observe_patch": lambda self, patches: density(patches),
    "observable_increment": density_increment,
}
