"""The analysis of how order goes with the size: each of its options, and what runs lack."""

from __future__ import annotations

import pytest

from macrodyn.methods.partial_evolution import analyses
from macrodyn.methods.partial_evolution.config import ScalingOption
from macrodyn.pipeline.job import Job
from macrodyn.storage.sealed import read_sealed_json, write_sealed_json

EXACT = {"beta_over_nu": 0.125, "gamma_over_nu": 1.75, "one_over_nu": 1.0}


def moments(side, temperature, beta=0.125):
    """Exactly scaled moments: U falls evenly with the scaled distance from T = 2."""
    value = {
        "absolute": side**-beta,
        "variance": side**1.75 * temperature / side**2,
        "binder": 0.6 - 0.1 * (temperature - 2.0) * side,
    }
    return {name: {"value": v, "error": 0.01 * v} for name, v in value.items()}


def run(side, temperatures=(1.9, 2.0, 2.1), key="temperature"):
    """Metrics of a run; of a second order parameter other exponents."""
    places = {
        f"{key}-{t}": {
            "lattice": [side, side],
            "parameters": {key: t, "field": 0.0},
            "moments": {
                "magnetisation": {"sampled": moments(side, t), "predicted": moments(side, t)},
                "staggered": {"sampled": moments(side, t, beta=0.3)},
            },
        }
        for t in temperatures
    }
    return {"run": f"side-{side}", "order_parameters": places}


@pytest.fixture
def scale(tmp_path, monkeypatch):
    """Make the analysis; return names of its figures and its findings."""
    drawn = []
    monkeypatch.setattr(analyses.style, "save", lambda figure, path: drawn.append(path.stem))

    def make(runs, **options):
        inputs = {}
        for metrics in runs:
            path = tmp_path / metrics["run"] / "metrics.json"
            write_sealed_json(path, metrics)
            inputs[metrics["run"]] = {"metrics": path}
        read = ScalingOption.model_validate(options).model_dump(mode="json")
        config = {"options": read, "runs": list(inputs)}
        outputs = {"findings": tmp_path / "findings.json", "figures": tmp_path / "figures"}
        drawn.clear()
        job = Job(stage="s", config=config, inputs=inputs, outputs=outputs, subject="s", key="k")
        analyses.finite_size_scaling(job)
        return list(drawn), read_sealed_json(outputs["findings"])["findings"]

    return make


def values(found, at, source="predicted"):
    return {name: slope["value"] for name, slope in found["exponents"][at][source].items()}


def test_exponents_are_fitted_where_they_are_asked_for(scale):
    drawn, found = scale([run(8), run(16), run(32)], at=[2.0, 2.1], exact=EXACT, critical=2.0)
    assert drawn == ["moments", "exponents", "collapse"]
    assert list(found["exponents"]) == ["2", "2.1"]
    assert values(found, "2") == pytest.approx(EXACT)
    assert values(found, "2.1", "sampled") == pytest.approx(EXACT)
    assert [p["length"] for p in found["moments"]["sampled"]] == pytest.approx(
        [8] * 3 + [16] * 3 + [32] * 3
    )


def test_nothing_is_collapsed_without_a_critical_temperature_or_exponents(scale):
    runs = [run(8), run(16)]
    assert scale(runs, at=[2.0], exact=EXACT)[0] == ["moments", "exponents"]
    assert scale(runs, at=[2.0], critical=2.0)[0] == ["moments", "exponents"]


def test_the_observable_is_the_one_that_is_named(scale):
    _, found = scale([run(8), run(16)], at=[2.0], observable="staggered")
    assert list(found["moments"]) == ["sampled"]
    assert values(found, "2", "sampled")["beta_over_nu"] == pytest.approx(0.3)


def test_the_temperature_is_the_parameter_that_is_named(scale):
    runs = [run(8, key="heat"), run(16, key="heat")]
    _, found = scale(runs, at=[2.0], temperature="heat")
    assert values(found, "2") == pytest.approx(EXACT)
    drawn, found = scale(runs, at=[2.0])
    assert drawn == ["moments"] and found["moments"] == {}


def test_runs_without_order_parameters_are_passed_over(scale):
    drawn, found = scale([{"run": "other"}, run(8)], at=[2.0])
    assert drawn == ["moments"]
    assert found["exponents"]["2"] == {"sampled": {}, "predicted": {}}


def test_runs_that_share_what_was_sampled_have_it_once(scale):
    twice = {**run(8), "run": "again"}
    _, found = scale([run(8), twice], at=[2.0])
    assert len(found["moments"]["sampled"]) == 3
