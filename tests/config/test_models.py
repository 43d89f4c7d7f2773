"""The configuration: its schema, the files that are delivered, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from macrodyn.config.load import ConfigError, load_study, make_system, merge
from macrodyn.config.models import json_schema, study_model
from macrodyn.methods.partial_evolution.config import PartialEvolutionRun
from macrodyn.methods.registry import BUILT_IN, find_method

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.json"
SCHEMAS = {
    "partial-evolution": SCHEMA,
    "partial-forces": SCHEMA.with_name("partial-forces.schema.json"),
}
CONFIGS = sorted((ROOT / "config").glob("*.yaml"))
BASE = {
    "study": "s",
    "system": {"name": "ising", "parameters": {"temperature": 2.5}},
    "sizes": {"small": [8, 6], "large": [16, 18]},
    "runs": {"a": {}, "b": None},
}


def with_changes(changes: dict) -> dict:
    return merge(BASE, changes)


def schema(method: str = "partial-evolution") -> dict:
    return json.loads(SCHEMAS[method].read_text(encoding="utf-8"))


@pytest.mark.parametrize("method", SCHEMAS)
def test_schema_file_is_that_of_the_models(method):
    path = SCHEMAS[method]
    assert path.is_file(), f"{path} is missing: make schema"
    assert path.read_text(encoding="utf-8") == json_schema(find_method(method).Run) + "\n", (
        f"{path} is out of date: make schema"
    )


def test_every_built_in_method_has_a_schema():
    assert SCHEMAS.keys() == BUILT_IN.keys()


@pytest.mark.parametrize("method", SCHEMAS)
def test_schema_is_a_schema(method):
    jsonschema.Draft202012Validator.check_schema(schema(method))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_delivered_configuration_is_valid(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    method = content.get("method", "partial-evolution")
    jsonschema.validate(content, schema(method), jsonschema.Draft202012Validator)
    # Of a file that is had elsewhere the system's own tests ask.
    study = load_study(path, check_systems=path.stem != "nbmota-published")
    assert study.title and list(study.runs) == list(content["runs"])
    for run in study.runs.values():
        make_system(run)


def test_schema_describes_the_keys():
    sections = schema()["$defs"]
    for name in ("SizesConfig", "SimulateConfig", "UpsampleConfig", "EvolveConfig"):
        for key, entry in sections[name]["properties"].items():
            assert entry.get("description") or "$ref" in entry, f"{name}.{key}"


REFUSED_BY_BOTH = {
    "unknown key": {"evolve": {"dts": 1}},
    "negative time": {"evolve": {"dt": -0.25}},
    "no replicas": {"simulate": {"replicas": 0}},
    "unknown method": {"upsample": {"method": "mirror"}},
    "unknown baseline": {"baselines": ["best"]},
    "polynomial of a degree beyond all use": {"dynamics": {"polynomial": {"degrees": [21]}}},
    "ridge that leaves nothing": {"dynamics": {"polynomial": {"ridges": [2.0]}}},
    "fraction of one": {"evaluate": {"equilibrium_fraction": 1}},
    "name with a slash": {"study": "a/b"},
    "horizon of one point": {"evaluate": {"horizons": {"h": {"spacing": 1, "points": 1}}}},
    "sweep without values": {"sweep": {"evolve.dt": []}},
    "sweep of no list": {"sweep": {"evolve.dt": 0.5}},
    "analysis without a kind": {"analyses": {"mine": {"runs": ["a"]}}},
    "analysis of no runs": {"analyses": {"mine": {"kind": "costs", "runs": []}}},
    "four axes": {"sizes": {"small": [2, 2, 2, 2]}},
}


@pytest.mark.parametrize("changes", REFUSED_BY_BOTH.values(), ids=REFUSED_BY_BOTH)
def test_schema_and_models_refuse_alike(changes):
    content = with_changes(changes)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema(), jsonschema.Draft202012Validator)
    with pytest.raises(ConfigError):
        load_study(content)


REFUSED = {
    "small does not divide": (
        {"sizes": {"small": [8, 5]}},
        "sizes.small: [8, 5] does not divide the large lattice [16, 18]",
    ),
    "patch does not divide": (
        {"sizes": {"patch": [3, 6]}},
        "sizes.patch: [3, 6] does not divide the large lattice [16, 18]",
    ),
    "patch larger than small": (
        {"sizes": {"patch": [16, 18]}},
        "sizes.patch: [16, 18] is larger than the small lattice [8, 6]",
    ),
    "wrong dimension": ({"sizes": {"small": [8]}}, "2 dimension(s)"),
    "too many patches": ({"evolve": {"patches": 7}}, "evolve.patches: 7 is more than the K = 6"),
    "buffer without surroundings": (
        {"evolve": {"boundary": "periodic", "buffer": 1}},
        "evolve.buffer: a periodic patch has no surroundings",
    ),
    "buffer too wide": ({"evolve": {"buffer": 7}}, "evolve.buffer: "),
    "empty range": (
        {"simulate": {"initial_range": [0.5, -0.5]}},
        "simulate.initial_range: [0.5, -0.5] is empty",
    ),
    "times that fall": ({"simulate": {"times": [0, 2, 1]}}, "simulate.times: must grow"),
    "lags without one": ({"evolve": {"lags": [2, 4]}}, "evolve.lags: must begin with 1"),
    "lags that repeat": ({"evolve": {"lags": [1, 1]}}, "evolve.lags: must begin with 1"),
    "factor from one patch": (
        {"evolve": {"patches": 1}, "dynamics": {"covariance_factor": "estimated"}},
        "dynamics.covariance_factor: cannot be estimated from one patch",
    ),
    "condition that is no parameter": (
        {"conditions": {"pressure": [1.0]}},
        "conditions.pressure: unknown key",
    ),
    "condition out of range": (
        {"conditions": {"temperature": [2.0, -1.0]}},
        "conditions.temperature: must be greater than 0, not -1.0",
    ),
    "parameter of a wrong type": (
        {"system": {"parameters": {"temperature": "hot"}}},
        "system.parameters.temperature: must be a number",
    ),
    "run with a slash": ({"runs": {"a/b": {}}}, "runs.a/b"),
    "class that does not exist": ({"system": {"name": "nowhere:Thing"}}, "cannot load system"),
    "class that is no system": ({"system": {"name": "json:JSONDecoder"}}, "is not a subclass"),
    "reserved name": ({"runs": {"stages": {}}}, "runs.stages: this name is reserved"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_together_is_refused(changes, message):
    with pytest.raises(ConfigError) as caught:
        load_study(with_changes(changes), where="file.yaml")
    text = str(caught.value)
    assert text.startswith("file.yaml is wrong:\n")
    assert text.count(message) == 1, text


def test_missing_parameter_is_named():
    with pytest.raises(ConfigError, match=r"system\.parameters\.temperature: is missing"):
        load_study({**BASE, "system": {"name": "ising"}})


def test_error_of_a_run_names_the_run():
    changes = {"runs": {"b": {"evolve": {"patches": 99}}, "c": {"sizes": {"small": [5, 5]}}}}
    with pytest.raises(ConfigError) as caught:
        load_study(with_changes(changes))
    lines = str(caught.value).splitlines()[1:]
    assert [line.split(":")[0].strip() for line in lines] == [
        "runs.b.evolve.patches",
        "runs.c.sizes.small",
    ]


def test_runs_override_parts_of_the_base():
    changes = {
        "evolve": {"dt": 0.5, "patches": 2},
        "runs": {"a": {"evolve": {"patches": 3}, "baselines": []}},
    }
    study = load_study(with_changes(changes))
    a, b = study.runs["a"], study.runs["b"]
    assert (a.evolve.dt, a.evolve.patches, a.baselines) == (0.5, 3, ())
    assert (b.evolve.dt, b.evolve.patches, b.baselines) == (0.5, 2, ("naive", "full"))


def test_lists_are_replaced_not_joined():
    study = load_study(with_changes({"runs": {"a": {"evolve": {"lags": [1, 3]}}}}))
    assert study.runs["a"].evolve.lags == (1, 3)


def test_merge_leaves_its_arguments_alone():
    base = {"a": {"b": 1}, "c": [1]}
    assert merge(base, {"a": {"d": 2}, "c": [2]}) == {"a": {"b": 1, "d": 2}, "c": [2]}
    assert base == {"a": {"b": 1}, "c": [1]}


def test_defaults_are_valid():
    model = study_model(PartialEvolutionRun)
    config = model.model_validate(BASE)
    again = model.model_validate(config.model_dump(mode="json"))
    assert again == config


FILES = {
    "no file": (None, "cannot read the configuration"),
    "no YAML": ("a: [1", "is not valid YAML"),
    "a list": ("- 1\n- 2\n", "must hold keys and values"),
    "empty": ("", "is empty"),
}


@pytest.mark.parametrize(("content", "message"), FILES.values(), ids=FILES)
def test_unreadable_file_is_named(tmp_path, content, message):
    path = tmp_path / "study.yaml"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        load_study(path)
    assert str(path) in str(caught.value)
