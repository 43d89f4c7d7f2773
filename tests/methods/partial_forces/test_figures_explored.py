"""What readers can choose from of held-out trajectories."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from macrodyn.methods.partial_forces.figures_explored import explored
from macrodyn.systems import system_class


def series(text: str) -> np.ndarray:
    exponent, *words = text.split()
    steps = np.cumsum([0 if word == "-" else int(word) for word in words])
    return np.where(np.array(words) == "-", np.nan, steps * 10.0 ** int(exponent))


@pytest.fixture
def data():
    random = np.random.default_rng(0)
    truth = random.uniform(0, 1, (3, 5, 2))
    closure = random.uniform(-2, -1, (3, 5, 1))
    z = random.uniform(0, 1, (4, 3, 5, 3))
    made = xr.Dataset(
        {
            "z": (("member", "run", "time", "variable"), z),
            # What single precision makes of observables is not what was simulated.
            "encoded": (("run", "time", "variable"), np.concatenate([truth + 9, closure], -1)),
        },
        coords={"variable": ["prey", "predator", "closure_0"]},
    )
    true = xr.Dataset(
        {
            "observables": (("run", "time", "observable"), truth),
            "initial_values": (("run", "component"), [[0.4, 0.1], [0.5, 0.1], [0.6, 0.1]]),
        },
        coords={"time": np.arange(5) * 0.2, "component": ["mean", "amplitude"]},
    )
    return made, true


def test_simulated_predicted_and_what_needs_no_forces(data):
    made, true = data
    kind = system_class("predator-prey-pde")
    system = kind(kind.Parameters())
    used = np.ones((3, 5), bool)
    used[1, 3:] = False
    without = {"nearest": true.observables.values + 0.1}
    found = explored(system, made, true, used, without)
    (case,) = found["cases"]
    assert found["variables"][2] == "closure 0" and len(case["states"]) == 3
    assert case["states"][1].startswith("2: ") and "0.5" in case["states"][1]
    labels = {scheme["name"]: scheme["label"] for scheme in found["schemes"]}
    assert labels == {"simulated": "simulated", "predicted": "predicted", "nearest": "nearest run"}
    kinds = {name: sorted(curve) for name, curve in case["curves"].items()}
    assert kinds == {"simulated": ["mean"], "predicted": ["mean", "members"], "nearest": ["mean"]}
    expected = {
        "simulated": [true.observables.values[..., 1], made.encoded.values[..., 2]],
        "predicted": [made.z.values.mean(0)[..., 1], made.z.values.mean(0)[..., 2]],
    }
    for scheme, variables in expected.items():
        for k, wanted in zip((1, 2), variables, strict=True):
            shown = [series(text) for text in case["curves"][scheme]["mean"][k]]
            np.testing.assert_allclose(shown, np.where(used, wanted, np.nan), atol=1e-4)
    spread = [series(text) for text in case["curves"]["predicted"]["members"][0]]
    members = np.where(used, made.z.values.std(0)[..., 0], np.nan)
    np.testing.assert_allclose(spread, members, atol=1e-3)
    assert len(case["curves"]["nearest"]["mean"]) == 2  # of the observables alone
