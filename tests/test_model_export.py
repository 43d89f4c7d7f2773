"""A trained model as a program of torch, which runs where macrodyn is not."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from macrodyn.closure.layers import Architecture
from macrodyn.closure.model import PatchAutoencoder
from macrodyn.dynamics.constraints import LinearConstraint
from macrodyn.dynamics.domain import Domain
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.model import MacroModel, ModelError
from macrodyn.systems.ising import Ising, IsingParameters
from tests.test_model import learned, make

ELSEWHERE = """
import json, sys
sys.modules["macrodyn"] = None
import numpy as np
import torch
files = {"macrodyn.json": ""}
program = torch.export.load(sys.argv[1], extra_files=files).module()
given = np.load(sys.argv[2])
found = program(*(torch.from_numpy(given[name]) for name in given.files))
try:
    import macrodyn
except ImportError:
    pass
else:
    raise SystemExit("macrodyn was there")
loaded = [name for name in sys.modules if name.startswith("macrodyn.")]
assert not loaded, loaded
names = ("drift", "factor")[: len([f for f in found if f is not None])]
np.savez(sys.argv[3], **{name: f.numpy() for name, f in zip(names, found)})
print(files["macrodyn.json"])
"""


def drawn(kind, *, conditions=0, constraint=None, **options):
    """A model of two variables of the Ising system with parameters that were drawn, not learned."""
    ensemble = Ensemble(
        kind, variables=2, conditions=conditions, members=3, options=options, seed=4,
        constraint=constraint,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in ensemble.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    ensemble.domain = Domain(
        low=(-1, -1), high=(1, 1), condition_low=(1,) * conditions, condition_high=(3,) * conditions
    )
    ensemble.metadata.update(dt=0.1, sites=256, members={"outliers": [1]})
    architecture = Architecture(
        kind="spin", patch=(4, 4), state_channels=1, observables=2, closure_dim=0
    )
    return MacroModel(
        ensemble=ensemble,
        closure=PatchAutoencoder(architecture, seed=0).eval(),
        system=Ising(IsingParameters(temperature=2.5, field=0.1)),
        large=(16, 16),
        patch=(4, 4),
        conditions=("temperature",)[:conditions],
    )


LINE = LinearConstraint(
    torch.tensor([[0.6], [0.8]], dtype=torch.float64), torch.tensor([0.1, 0.2], dtype=torch.float64)
)
MODELS = {
    "network": lambda: drawn("neural-sde", hidden=(8,)),
    "conditions": lambda: drawn("neural-sde", conditions=1, hidden=(8,)),
    "constraint": lambda: drawn("neural-sde", hidden=(8,), constraint=LINE),
    "without-noise": lambda: drawn("onsagernet", hidden=(8,)),
    "gfinn": lambda: drawn("gfinn", hidden=(8,), turns=4, covariance="full"),
    "polynomial": lambda: learned(make()),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_the_program_gives_the_same_numbers_without_macrodyn(model, tmp_path):
    model = model()
    torch.manual_seed(2)
    path = model.export(tmp_path / "step.pt2")
    z = torch.randn(7, len(model.variables), dtype=torch.float64)
    given = {"z": z.numpy()}
    conditions = None
    if model.conditions:
        conditions = 2.0 + torch.rand(7, 1, dtype=torch.float64)
        given["conditions"] = conditions.numpy()
    np.savez(tmp_path / "in.npz", **given)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            ELSEWHERE,
            *(str(tmp_path / f) for f in (path, "in.npz", "out.npz")),
        ],
        capture_output=True,
        encoding="utf-8",
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["variables"] == list(model.variables) and facts["step"] == model.step
    assert facts["conditions"] == list(model.conditions)
    exact = copy.deepcopy(model.to_torch()).double()
    with torch.no_grad():
        drift, factor = exact(z, conditions)
    with np.load(tmp_path / "out.npz") as found:
        np.testing.assert_allclose(found["drift"], drift, rtol=1e-12, atol=1e-13)
        assert ("factor" in found) == (factor is not None)
        if factor is not None:
            np.testing.assert_allclose(found["factor"], factor, rtol=1e-12, atol=1e-13)
            assert np.abs(found["factor"]).max() > 0
    # The model computes in single precision.
    asked = {"temperature": float(conditions[0, 0])} if model.conditions else None
    np.testing.assert_allclose(model.drift(z[0], asked), drift[0], rtol=1e-4, atol=1e-4)


def test_what_was_learned_stays_in_single_precision(tmp_path):
    model = MODELS["network"]()
    before = model.drift([0.1, 0.2])
    model.export(tmp_path / "one.pt2")
    assert all(p.dtype == torch.float32 for p in model.ensemble.parameters())
    np.testing.assert_array_equal(model.drift([0.1, 0.2]), before)
    assert type(model.ensemble) is Ensemble


def test_the_name_says_what_it_is(tmp_path):
    with pytest.raises(ModelError, match=r"ends in \.pt2, not model\.onnx"):
        replace(MODELS["network"]()).export(tmp_path / "model.onnx")
