"""A wrong configuration is refused before any job, with the key's path and what to do."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml

from macrodyn.config.load import ConfigError, load_study, make_system, merge

BASE = {
    "study": "test",
    "system": {"name": "ising", "parameters": {"temperature": 2.5, "field": 0.1}},
    "sizes": {"small": [20, 12], "large": [60, 48]},
    "runs": {"first": None},
}


def errors(changes):
    """Lines of the message, without the first."""
    with pytest.raises(ConfigError) as caught:
        load_study(merge(BASE, changes), "config/test.yaml")
    first, *lines = str(caught.value).split("\n")
    assert first == "config/test.yaml is wrong:"
    return [line.strip() for line in lines]


def without(*keys):
    return {key: value for key, value in BASE.items() if key not in keys}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"upsmple": {}}, "upsmple: unknown key: remove it", id="wrong-key"),
        pytest.param(
            {"evolve": {"detla": 1}}, "evolve.detla: unknown key: remove it", id="wrong-nested-key"
        ),
        pytest.param(
            {"sizes": {"small": [16, 16]}},
            "sizes.small: [16, 16] does not divide the large lattice [60, 48]: every side must",
            id="small-does-not-divide",
        ),
        pytest.param(
            {"sizes": {"patch": [7, 12]}},
            "sizes.patch: [7, 12] does not divide the large lattice [60, 48]: every side must",
            id="patch-does-not-divide-large",
        ),
        pytest.param(
            {"sizes": {"patch": [30, 12]}},
            "sizes.patch: [30, 12] is larger than the small lattice [20, 12]",
            id="patch-larger-than-small",
        ),
        pytest.param(
            {"sizes": {"large": [80, 48], "patch": [16, 12]}},
            "sizes.patch: [16, 12] does not divide [40, 24], a level between the small",
            id="patch-does-not-divide-a-level",
        ),
        pytest.param(
            {"sizes": {"small": [20]}},
            "sizes.small: ",
            id="dimension",
        ),
        pytest.param(
            {"sizes": {"small": [20, 0]}},
            "sizes.small.1: must be greater than 0, not 0",
            id="zero-side",
        ),
        pytest.param({"sizes": {"small": 20}}, "sizes.small: ", id="side-is-no-list"),
        pytest.param(
            {"system": {"parameters": {"temperature": -1}}},
            "system.parameters.temperature: must be greater than 0, not -1",
            id="negative-temperature",
        ),
        pytest.param(
            {"system": {"parameters": {"temperature": "cold"}}},
            "system.parameters.temperature: must be a number",
            id="temperature-in-words",
        ),
        pytest.param(
            {"system": {"parameters": {"temperatur": 2}}},
            "system.parameters.temperatur: unknown key: remove it",
            id="wrong-parameter",
        ),
        pytest.param(
            {"system": {"name": "isng"}},
            "system.name: unknown system 'isng'; installed systems: ",
            id="unknown-system",
        ),
        pytest.param(
            {"system": {"name": "nowhere:System"}},
            "system.name: cannot load system 'nowhere:System': No module named",
            id="system-of-a-missing-module",
        ),
        pytest.param({"system": {"name": ":System"}}, "system.name: cannot load", id="no-module"),
        pytest.param(
            {"evolve": {"stop": "flips"}},
            "evolve.stop: must be 'time' or 'events', not 'flips'",
            id="unknown-stop",
        ),
        pytest.param(
            {"evolve": {"patches": 13}},
            "evolve.patches: 13 is more than the K = 12 patches there are",
            id="too-many-patches",
        ),
        pytest.param(
            {"evolve": {"buffer": 19}},
            "evolve.buffer: the patch with its buffer is wider (50) than the lattice (48)",
            id="buffer-too-wide",
        ),
        pytest.param(
            {"evolve": {"buffer": 18}},
            "evolve.buffer: the patch with its buffer and a halo of 1 on either side is wider (50)",
            id="halo-too-wide",
        ),
        pytest.param(
            {"sizes": {"large": [20, 48]}, "upsample": {"relaxation": {"duration": 0}}},
            "sizes.small: the patch with its buffer and a halo of 1 on either side is wider (22)",
            id="patch-fills-an-axis",
        ),
        pytest.param(
            {"evolve": {"buffer": 1, "stop": "events"}},
            "evolve.buffer: events in the buffer would be counted as the patch's",
            id="events-in-the-buffer",
        ),
        pytest.param(
            {"evolve": {"buffer": 1, "boundary": "periodic"}},
            "evolve.buffer: a periodic patch has no surroundings: set it to 0",
            id="buffer-of-a-periodic-patch",
        ),
        pytest.param(
            {"evolve": {"lags": [2, 4]}}, "evolve.lags: must begin with 1 and grow", id="lags"
        ),
        pytest.param(
            {"evolve": {"dt": 0}}, "evolve.dt: must be greater than 0, or 'auto', not 0", id="dt"
        ),
        pytest.param(
            {"simulate": {"times": [0, 2, 1]}}, "simulate.times: must grow", id="times-that-fall"
        ),
        pytest.param(
            {"simulate": {"initial_range": [0.5, -0.5]}},
            "simulate.initial_range: [0.5, -0.5] is empty: give the lower end first",
            id="empty-range",
        ),
        pytest.param({"upsample": {"method": "mirror"}}, "upsample.method: must be", id="method"),
        pytest.param(
            {"upsample": {"method": "interpolate"}},
            "upsample.method: ising knows only tile, replicate",
            id="method-of-another-system",
        ),
        pytest.param(
            {"system": {"name": "curie-weiss"}, "evaluate": {"equilibrium": {"samples": 3}}},
            "evaluate.equilibrium: curie-weiss, with these parameters, has no moves to equilibrium",
            id="equilibrium-of-a-system-without-moves",
        ),
        pytest.param(
            {"system": {"name": "curie-weiss"}, "upsample": {"equilibrate": 3}},
            "upsample.equilibrate: curie-weiss, with these parameters, has no moves to equilibrium",
            id="snapshots-of-a-system-without-moves",
        ),
        pytest.param(
            {"upsample": {"equilibrate": 3, "chains": [{"from": 0, "after": [1, 2]}]}},
            "upsample.equilibrate: ends snapshots that are put together from small ones",
            id="chains-that-end-in-equilibrium",
        ),
        pytest.param(
            {"closure": {"objective": "prediction", "dimension": 0}},
            "closure.objective: prediction chooses the autoencoder's variables, and "
            "closure.dimension is 0",
            id="prediction-by-no-variable",
        ),
        pytest.param(
            {"closure": {"objective": "prediction", "dimension": 3}, "evolve": {"lags": [1]}},
            "closure.dimension: 3 is more than the 2 rates that closure.objective: prediction",
            id="more-variables-than-rates",
        ),
        pytest.param(
            {"closure": {"objective": "prediction", "decoder": "whole"}},
            "closure.decoder: rebuilds patches, and closure.objective is prediction",
            id="decoder-of-prediction",
        ),
        pytest.param(
            {"upsample": {"records": {"number": 2}}},
            "upsample.records: are kept along the moves of upsample.equilibrate, which is 0",
            id="records-without-moves",
        ),
        pytest.param(
            {"upsample": {"snapshots": 8, "equilibrate": 3, "records": {"number": 3}}},
            "upsample.records.number: 3 of each chain do not make upsample.snapshots (8): give a "
            "multiple of 3",
            id="records-that-do-not-divide",
        ),
        pytest.param(
            {"upsample": {"equilibrate": 3, "records": {"number": 1}}},
            "upsample.records.number: must be",
            id="one-record",
        ),
        pytest.param(
            {"simulate": {"initial_range": {"density": [0, 1]}}},
            "simulate.initial_range: names ['density'], but an initial macrostate is "
            "['magnetisation']",
            id="unknown-component",
        ),
        pytest.param(
            {"simulate": {"initial_range": {"magnetisation": [0, 1, 2]}}},
            "simulate.initial_range.magnetisation: ",
            id="range-of-three",
        ),
        pytest.param(
            {"evaluate": {"initial": {"magnetisation": [0.0, 1.5]}}},
            "evaluate.initial: [1.5] is outside [-1.0, 1.0]",
            id="initial-outside-by-name",
        ),
        pytest.param(
            {"evaluate": {"initial": "all"}},
            "evaluate.initial: must be a list in brackets, not 'all'",
            id="initial-word",
        ),
        pytest.param(
            {"conditions": {"pressure": [1.0]}},
            "conditions.pressure: unknown key: remove it",
            id="unknown-condition",
        ),
        pytest.param(
            {"conditions": {"temperature": [2.0, -2.0]}},
            "conditions.temperature: must be greater than 0, not -2.0",
            id="impossible-condition",
        ),
        pytest.param(
            {"dynamics": {"covariance_factor": "estimated"}, "evolve": {"patches": 1}},
            "dynamics.covariance_factor: cannot be estimated from one patch a snapshot: set",
            id="factor-from-one-patch",
        ),
        *(
            pytest.param(
                {"runs": {name: {}}}, f"runs.{name}: this name is reserved", id=f"run-named-{name}"
            )
            for name in ("report", "stages", "figures", "logs", "study.json", "summary.csv")
        ),
        pytest.param(
            {"runs": {"first": {"execution": {"checkpoint_minutes": 1}}}},
            "runs.first.execution.checkpoint_minutes: is the same for all runs",
            id="checkpoints-of-one-run",
        ),
        pytest.param({"runs": {"first": 3}}, "runs.first: ", id="run-is-no-mapping"),
        pytest.param(
            {"study": "my study"}, "study: must be letters, digits", id="name-with-a-space"
        ),
    ],
)
def test_each_wrong_key_is_named(changes, expected):
    (line,) = errors(changes)
    assert line.startswith(expected)


def test_missing_keys_are_named():
    with pytest.raises(ConfigError) as caught:
        load_study(without("sizes", "runs"))
    message = str(caught.value)
    assert message.startswith("configuration is wrong:")
    assert "sizes: is missing" in message and "runs: is missing" in message


def test_a_study_needs_a_run():
    with pytest.raises(ConfigError, match="runs: "):
        load_study({**BASE, "runs": {}})


def test_all_errors_of_the_schema_come_at_once():
    lines = errors({"upsmple": 1, "evolve": {"stop": "x", "dt": -1}, "sizes": {"large": [0, 48]}})
    assert [line.split(": ")[0] for line in lines] == [
        "sizes.large.0",
        "evolve.dt",
        "evolve.stop",
        "upsmple",
    ]


def test_all_errors_across_keys_and_runs_come_at_once():
    lines = errors(
        {
            "simulate": {"times": [1, 1]},
            "evolve": {"lags": [3], "patches": 50},
            "runs": {
                "odd": {"sizes": {"small": [7, 7]}},
                "cold": {"system": {"parameters": {"temperature": 0}}},
                "typo": {"evolvee": {}},
            },
        }
    )
    paths = {line.split(": ")[0] for line in lines}
    assert paths == {
        "simulate.times",
        "evolve.lags",
        "evolve.patches",
        "runs.odd.sizes.small",
        "runs.cold.system.parameters.temperature",
        "runs.typo.evolvee",
    }
    assert len(lines) == len(paths)


def test_several_wrong_parameters_come_at_once():
    lines = errors({"system": {"parameters": {"temperature": -1, "fild": 2}}})
    assert len(lines) == 2


@pytest.mark.parametrize(
    "sizes",
    [{"small": [7, 7]}, {"small": [20]}, {"patch": [20, 13]}],
    ids=["small", "dimension", "patch"],
)
def test_wrong_sizes_are_an_error_of_the_configuration_whatever_else_is_asked(sizes):
    changes = {
        "sizes": sizes,
        "dynamics": {"covariance_factor": "estimated"},
        "evolve": {"patches": 1},
    }
    assert any(line.startswith("sizes.") for line in errors(changes))


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"simulate": {"initial_range": [-2, 2]}}, "simulate.initial_range"),
        ({"evaluate": {"initial": [0.5, 1.5]}}, "evaluate.initial"),
        ({"system": {"parameters": {"field": float("nan")}}}, "system.parameters.field"),
        ({"evolve": {"dt": float("inf")}}, "evolve.dt"),
    ],
    ids=["range", "initial", "nan", "infinite"],
)
def test_values_that_a_job_would_refuse_are_refused_before(changes, path):
    assert any(line.startswith(path) for line in errors(changes))


def test_runs_override_the_base_and_keep_the_rest():
    study = load_study(
        merge(
            BASE,
            {
                "title": "A test",
                "evolve": {"dt": 0.5, "patches": 2},
                "runs": {
                    "fine": {"sizes": {"patch": [10, 6]}, "evolve": {"dt": 0.1}},
                    "cold": {"system": {"parameters": {"temperature": 1.5}}},
                },
            },
        )
    )
    assert (study.name, study.title, list(study.runs)) == (
        "test",
        "A test",
        ["first", "fine", "cold"],
    )
    first, fine, cold = study.runs.values()
    assert (first.evolve.dt, fine.evolve.dt, fine.evolve.patches) == (0.5, 0.1, 2)
    assert first.patch == (20, 12) and fine.patch == (10, 6)
    assert cold.system.parameters == {"temperature": 1.5, "field": 0.1}
    assert make_system(cold).parameters.temperature == 1.5
    assert first.sizes.large == (60, 48)


def test_an_error_in_a_run_does_not_blame_the_base():
    (line,) = errors({"runs": {"cold": {"system": {"parameters": {"temperature": -3}}}}})
    assert line.startswith("runs.cold.system.parameters.temperature: ")


def test_an_error_of_the_base_is_told_once():
    (line,) = errors({"evolve": {"lags": [2]}, "runs": {"a": None, "b": {"seed": 3}, "c": None}})
    assert line.startswith("evolve.lags: ")


def test_merge_leaves_its_arguments_alone():
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 4}
    merged = merge(base, {"a": {"c": [3]}, "d": {"e": 1}})
    assert merged == {"a": {"b": 1, "c": [3]}, "d": {"e": 1}}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 4}


def test_a_file_is_read(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(BASE), encoding="utf-8")
    assert list(load_study(path).runs) == ["first"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("study: [unclosed", "is not valid YAML: .*line 1"),
        (
            "- a\n- b\n",
            r"must hold keys and values, not \['a', 'b'\]: a study needs at least study",
        ),
        ("", "is empty: a study needs at least study, system, sizes and runs"),
        ("just words", "must hold keys and values, not 'just words'"),
        ("!!python/object/apply:os.system ['true']", "is not valid YAML"),
    ],
    ids=["unclosed", "list", "empty", "string", "code"],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path, text, message):
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"(?s)study\.yaml.*{message}"):
        load_study(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*nowhere\.yaml: No such file"):
        load_study(tmp_path / "nowhere.yaml")


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_bytes(b"study: \xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"study\.yaml"):
        load_study(path)


def test_a_checked_study_is_read_without_its_system():
    """Jobs on a cluster read it again: its system's compiler takes longer to load than all else."""
    code = (
        "import sys, json; from macrodyn.config.load import load_study\n"
        "load_study(json.loads(sys.argv[1]), check_systems=False)\n"
        "assert not {'numba', 'torch', 'xarray'} & set(sys.modules)\n"
        "load_study(json.loads(sys.argv[1]))\n"
        "assert 'numba' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, json.dumps(BASE)], check=True)


def test_keys_are_checked_even_without_the_system():
    with pytest.raises(ConfigError, match="dt: must be greater than 0"):
        load_study({**BASE, "evolve": {"dt": 0}}, check_systems=False)


@pytest.mark.parametrize(
    ("simulate", "expected"),
    [
        pytest.param(
            {"initial_range": {"mean": [0.4, 0.8], "amplitude": [0, 0.3]}},
            "simulate.initial_range: mean 0.8 with amplitude 0.3 makes negative densities",
            id="impossible-combination",
        ),
        pytest.param(
            {},
            "simulate.initial_range: an initial macrostate is 2 numbers: give each by name",
            id="numbers-without-names",
        ),
        pytest.param(
            {"initial_range": {"mean": [0.4, 0.6], "amplitude": [0.1, 0.9]}},
            "simulate.initial_range: [0.9] is outside [0.0, 0.5], the range of predator-prey's "
            "initial macrostates (amplitude)",
            id="outside",
        ),
        pytest.param(
            {"initial_range": {"mean": [0.6, 0.4], "amplitude": [0, 0.1]}},
            "simulate.initial_range: [0.6, 0.4] is empty (mean)",
            id="empty",
        ),
    ],
)
def test_macrostates_of_several_numbers_are_checked(simulate, expected):
    content = {
        "study": "fields",
        "system": {"name": "predator-prey"},
        "sizes": {"small": [100], "large": [200], "patch": [40]},
        "evaluate": {"initial": {"mean": [0.5], "amplitude": [0.1]}},
        "runs": {"only": {}},
    }
    with pytest.raises(ConfigError) as caught:
        load_study({**content, "simulate": simulate})
    (line,) = str(caught.value).splitlines()[1:]
    assert line.strip().startswith(expected)


@pytest.mark.parametrize(
    ("own", "values", "runs"),
    [(2.5, [2.0, 3.0], []), (3.5, [2.0, 3.0], ["a", "b"]), (3.0, [2.0, 3.0], [])],
    ids=["inside", "outside", "at the edge"],
)
def test_condition_that_is_evaluated_outside_of_its_values_is_warned_of(own, values, runs):
    content = {
        **BASE,
        "system": {"name": "ising", "parameters": {"temperature": own}},
        "conditions": {"temperature": values},
        "runs": {"a": None, "b": {"seed": 2}, "c": {"conditions": {"temperature": [2.0, 4.0]}}},
    }
    warnings = load_study(content).warnings
    assert [line.split(":")[0] for line in warnings] == [f"runs.{name}" for name in runs]
    for line in warnings:
        assert "temperature is evaluated at 3.5" in line and "sampled values 2 to 3" in line
    assert load_study(content, check_systems=False).warnings == ()
