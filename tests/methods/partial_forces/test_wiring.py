"""Each key of a configuration reaches the stage that uses it, and changes what that makes."""

from __future__ import annotations

from typing import Any

import pytest

from macrodyn.config.load import merge
from macrodyn.config.models import StudyKeys, study_model
from macrodyn.methods.partial_forces.config import PartialForcesRun

from ...wiring.bench import changed, value_at
from ...wiring.keys import choices, leaves
from .bench import BASE, Bench, Described, digest

LEAVES = {
    key: kind
    for key, kind in leaves(study_model(PartialForcesRun))
    if key.split(".")[0] not in {*StudyKeys.model_fields, "execution", "method", "system"}
}
DESCRIBED = {"system": {"name": f"{Described.__module__}:Described"}}
DENSE = {"closure": {"encoder": "dense"}}
ROUGH = {"closure": {"encoder": "dense", "learning_rate": 0.5, "steps": 90}}
STRAY = {"dynamics": {"validation_every": 1, "patience": 1, "steps": 200, "learning_rate": 0.9}}
FIRST = {"forces": {"draw": "first"}}
# Key, another value, the stage whose result it changes first, and what else is changed on both
# sides.
ROWS: list[tuple[str, Any, str, dict[str, Any]]] = [
    ("seed", 6, "trajectories", {}),
    ("size", [12], "trajectories", {}),
    ("simulate.runs", 9, "trajectories", {}),
    (
        "simulate.initial_range",
        {"mean": [0.4, 0.5], "amplitude": [0.05, 0.15]},
        "trajectories",
        {},
    ),
    ("simulate.times.first", 0.2, "trajectories", {}),
    ("simulate.times.spacing", 0.4, "trajectories", {}),
    ("simulate.times.points", 7, "trajectories", {}),
    ("simulate.precision", "single", "trajectories", {}),
    ("simulate.while_above", {"prey": 0.48}, "forces", {"forces": {"configurations": "all"}}),
    ("forces.number", 5, "forces", {}),
    ("forces.number", "all", "forces", {}),
    ("forces.runs", 4, "forces", {"forces": {"configurations": 20}}),
    ("forces.configurations", 20, "forces", {}),
    ("forces.configurations", "all", "forces", {}),
    ("forces.draw", "first", "forces", {}),
    ("forces.displaced", 0.4, "forces", {}),
    ("forces.displacement", 0.02, "forces", {"forces": {"displaced": 0.4}}),
    ("closure.encoder", "dense", "encoder", {}),
    ("closure.encoder", "descriptors", "encoder", DESCRIBED),
    ("closure.dimension", 3, "encoder", {}),
    ("closure.snapshots", 12, "encoder", {}),
    ("closure.channels", [7], "encoder", DENSE),
    ("closure.hidden", 7, "encoder", DENSE),
    ("closure.condition_penalty", 1.0, "encoder", DENSE),
    ("closure.weight_decay", 0.5, "encoder", DENSE),
    ("closure.steps", 25, "encoder", DENSE),
    ("closure.batch", 9, "encoder", DENSE),
    ("closure.learning_rate", 2e-3, "encoder", DENSE),
    (
        "closure.patience",
        1,
        "encoder",
        merge(DENSE, {"closure": {"learning_rate": 0.5, "steps": 90}}),
    ),
    ("closure.validation_every", 7, "encoder", merge(DENSE, {"closure": {"learning_rate": 0.5}})),
    ("closure.validation_fraction", 0.5, "encoder", DENSE),
    ("dynamics.model", "onsagernet", "model", {}),
    ("dynamics.model", "gfinn", "model", {}),
    ("dynamics.loss", "latent", "model", {}),
    ("dynamics.loss", "controlled", "model", {}),
    ("dynamics.members", 3, "model", {}),
    ("dynamics.hidden", [7], "model", {}),
    ("dynamics.activation", "tanh", "model", {}),
    ("dynamics.steps", 25, "model", {}),
    ("dynamics.batch", 9, "model", {}),
    ("dynamics.learning_rate", 1e-3, "model", {}),
    ("dynamics.weight_decay", 0.5, "model", {}),
    ("dynamics.output_layer", False, "model", {"forces": {"number": 16}, "dynamics": {"steps": 5}}),
    ("dynamics.patience", 40, "model", STRAY),
    ("dynamics.validation_every", 20, "model", STRAY),
    ("dynamics.validation_fraction", 0.5, "model", {}),
    ("evaluate.runs", 4, "held-out", {}),
    (
        "evaluate.initial_range",
        {"mean": [0.48, 0.52], "amplitude": [0.05, 0.15]},
        "held-out",
        {},
    ),
    ("evaluate.times", {"first": 0.0, "spacing": 0.1, "points": 6}, "held-out", {}),
    ("evaluate.step", 0.05, "forecast", {}),
    ("evaluate.unresolved", 7, "forecast", {}),
    ("baselines", ["nearest"], "evaluation", {}),
]
# Keys of sections that stand in rows of the whole, or show elsewhere.
ELSEWHERE = {
    "evaluate.times.first",
    "evaluate.times.spacing",
    "evaluate.times.points",
    "dynamics.known",  # of a system whose rates are known: tests/dynamics/test_force_fit.py
    "published",  # of tables and figures: test_report.py
}
ORDER = ("trajectories", "held-out", "forces", "encoder", "products", "model", "forecast")


@pytest.mark.parametrize(("key", "value", "role", "also"), ROWS)
def test_value_arrives(bench: Bench, key: str, value: Any, role: str, also: dict[str, Any]) -> None:
    after = merge(also, changed(key, value, merge(BASE, also)))
    one, other = bench.plan(also), bench.plan(after)
    if role != "evaluation":
        # What comes before, or beside, is not made again.
        first = next(r for r in ORDER if one[r].key != other[r].key)
        assert first == role
    assert digest(bench.made(role, also)) != digest(bench.made(role, after))


@pytest.mark.parametrize("key", LEAVES)
def test_key_has_a_row(key: str) -> None:
    if key in ELSEWHERE:
        return
    rows = [row for row in ROWS if row[0] == key]
    assert rows, f"no test shows that anything uses the key {key}: add a row to ROWS"
    tried = [value_at(BASE, key), *(row[1] for row in rows)]
    words = [word for value in tried for word in (value if isinstance(value, list) else [value])]
    untried = [word for word in choices(LEAVES[key]) if word not in words]
    assert not untried, f"{key} may be {untried} too: add a row"


def test_results_do_not_depend_on_shards(bench: Bench) -> None:
    shards = {"trajectories": 3, "partial_forces": 4, "products": 5}
    cut = {"execution": {"shards": shards}}
    again = Bench(bench.folder / "cut")
    for role in ("trajectories", "forces", "products", "model"):
        assert bench.plan(cut)[role].key == bench.plan()[role].key
        assert digest(again.made(role, cut)) == digest(bench.made(role))
