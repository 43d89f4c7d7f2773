"""What the workflow's own text does with a configuration: its functions, without Snakemake."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from macrodyn.config.load import load_study, merge
from macrodyn.pipeline.cuts import kept_cut
from macrodyn.pipeline.job import _device, _has_gpu
from macrodyn.pipeline.planner import plan_study
from macrodyn.pipeline.stage import Stage
from macrodyn.systems import system_class

from .bench import BASE

RULES = Path(__file__).parents[2] / "workflow" / "rules"
SAMPLED = ("simulate", "upsample", "evolve", "reference")


def workflow(changes: dict[str, Any], gres: str = "", results: str = "results") -> dict[str, Any]:
    """The functions of common.smk, for a study."""
    study = load_study(merge(BASE, changes), check_systems=False)
    runs = plan_study(study)
    resources = SimpleNamespace(default_resources={"gpu_gres": gres} if gres else None)
    names = {
        "STUDY": study,
        "RUNS": runs,
        "STAGES": runs.stages,
        "KINDS": runs.kinds,
        "RESULTS": results,
        "Path": Path,
        "kept_cut": kept_cut,
        "workflow": SimpleNamespace(resource_settings=resources),
        "system_class": system_class,
        "directory": lambda path: f"directory {path}",
        "re": re,
    }
    # Snakemake's own words stand between them, so that the file as a whole is no Python.
    for text in re.split(r"(?m)^(?=\w)", (RULES / "common.smk").read_text(encoding="utf-8")):
        if text.startswith(("def ", "SUBJECTS = ", "FOLDERS = ")):
            exec(compile(ast.parse(text), "common.smk", "exec"), names)
    return names


def words(rule: str) -> str:
    """A rule, on one line; that of the loop has no name."""
    (text,) = (
        found[0]
        for file in RULES.glob("*.smk")
        if (
            found := re.search(
                rf"(?ms)^ *rule *{rule}:.*?(?=^\S|\Z)",
                file.read_text(encoding="utf-8"),
            )
        )
    )
    return " ".join(text.split())


def job(stage: Stage) -> dict[str, str]:
    """Wildcards of a job of a stage."""
    place = stage.kind.place
    return {"key" if place == "digest" else place: stage.id[1]}


@pytest.mark.parametrize("gres", ["", "gpu:1"], ids=["by number", "by the cluster's name"])
@pytest.mark.parametrize("name", ["upsample", "evolve", "closure", "dynamics", "predict"])
def test_device_of_a_stage_is_asked_for_and_used(
    monkeypatch: pytest.MonkeyPatch, name: str, gres: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert "gpu=stage_gpus(kind.name), gres=stage_gres(kind.name)" in words("")
    for device in ("cpu", "cuda"):
        made = workflow({"execution": {"device": device}}, gres)
        stage = next(stage for stage in made["STAGES"].values() if stage.name == name)
        resources = {kind: made[f"stage_{kind}"](name)(job(stage)) for kind in ("gpus", "gres")}
        asked = {"gpu": resources["gpus"], "gres": resources["gres"]}
        assert _device(_has_gpu(asked)) == device


def test_sampling_stays_on_the_processor_where_the_system_knows_no_other() -> None:
    made = workflow({"execution": {"device": "cuda"}, "system": {"name": "curie-weiss"}})
    wanted = {
        name for (name, _), stage in made["STAGES"].items() if made["wants_gpu"](name, job(stage))
    }
    assert wanted == {"closure", "dynamics", "predict"}


def test_stages_that_use_no_device_ask_for_none() -> None:
    made = workflow({"execution": {"device": "cuda"}})
    wanted = {
        name for (name, _), stage in made["STAGES"].items() if made["wants_gpu"](name, job(stage))
    }
    assert wanted == {"upsample", "evolve", "closure", "dynamics", "predict"}


@pytest.mark.parametrize("name", ["simulate", "dynamics", "evaluate"])
@pytest.mark.parametrize(("key", "resource"), [("memory", "mem_mb"), ("minutes", "runtime")])
def test_what_a_stages_job_asks_for_is_what_the_study_says(
    name: str, key: str, resource: str
) -> None:
    assert f"{resource}=stage_{key}(kind.name)" in words("")

    def asked(execution: dict[str, Any]) -> dict[str, list[int]]:
        made = workflow({"execution": execution})
        made["further"] = lambda attempt, rulename, wildcards: attempt
        return {
            stage.name: [made[f"stage_{key}"](stage.name)(job(stage), n, "") for n in (1, 2)]
            for stage in made["STAGES"].values()
        }

    usual, said = asked({}), asked({key: {name: 1234}})
    assert said.pop(name) == [1234, 2468]
    first, second = usual.pop(name)
    assert second == 2 * first != 2468
    assert said == usual


@pytest.mark.parametrize("name", SAMPLED)
def test_stage_is_cut_into_its_shards(name: str) -> None:
    assert "shard_files(STAGES[wildcards.stage, wildcards.key])" in words("gather")
    made = workflow({"execution": {"shards": {name: 3}}})
    cut = {stage: len(made["shard_files"](s)) for (stage, _), s in made["STAGES"].items()}
    assert {stage for stage, files in cut.items() if files == 3} == {name}


def test_a_finished_stage_keeps_its_shards_whatever_is_asked(tmp_path: Path) -> None:
    made = workflow({"execution": {"shards": {"simulate": 3}}}, results=str(tmp_path))
    stage = next(stage for stage in made["STAGES"].values() if stage.name == "simulate")
    folder = tmp_path / stage.folder
    (folder / "logs").mkdir(parents=True)
    log = "2026-03-01 12:00:00,000 rule gather starts with 1 thread(s)\n"
    log += "2026-03-01 12:00:01,000 gathering 2 shard(s)\n"
    (folder / "logs" / "gather.log").write_text(log, encoding="utf-8")
    assert len(made["shard_files"](stage)) == 3
    (folder / "data.nc").touch()
    assert made["shard_files"](stage) == [f"{folder}/shard-{i}-of-2.nc" for i in range(2)]


def test_a_shards_file_is_the_one_that_its_gathering_reads() -> None:
    made = workflow({"execution": {"shards": {"simulate": 3}}})
    stage = next(stage for stage in made["STAGES"].values() if stage.name == "simulate")
    written = made["kind_outputs"](stage.kind)["data"].replace("{{", "{").replace("}}", "}")
    files = [written.format(key=stage.key, shard=i, shards=3) for i in range(3)]
    assert files == made["shard_files"](stage)


@pytest.mark.parametrize("name", ["closure", "encode", "evaluate", "costs"])
def test_outputs_of_a_rule_are_those_that_the_next_one_reads(name: str) -> None:
    made = workflow({})
    stage = next(stage for stage in made["STAGES"].values() if stage.name == name)
    values = job(stage)
    written = {
        output: path.removeprefix("directory ").format(**values)
        for output, path in made["kind_outputs"](stage.kind).items()
    }
    assert written == {o: made["result"](stage, file) for o, file in stage.kind.outputs.items()}
    folders = {o for o, path in made["kind_outputs"](stage.kind).items() if "directory" in path}
    assert folders == ({"figures"} if name in ("evaluate", "costs") else set())
    assert f"{made['folder_of'](stage.kind)}/logs".format(**values) == (
        f"results/{stage.folder}/logs"
    )


def test_a_job_is_told_of_its_stage() -> None:
    told = {"config", "inputs", "key", "subject"}
    for name in told:
        assert f'{name}=stage_params(kind.name, "{name}")' in words("")
    assert "work=kind.work" in words("")
    made = workflow({})
    for (name, _), stage in made["STAGES"].items():
        said = {what: made["stage_params"](name, what)(job(stage)) for what in told}
        assert said["config"] == stage.config and said["key"] == stage.key
        assert said["subject"] == stage.subject
        assert said["inputs"].keys() == stage.inputs.keys()
        # Folders hold what changes without them: a job waits for files alone.
        files = [path for files in said["inputs"].values() for path in files.values()]
        wanted = {path for path in files if Path(path).suffix}
        assert set(made["stage_files"](name)(job(stage))) == wanted


def test_a_job_of_no_stage_of_the_study_is_not_matched() -> None:
    made = workflow({"runs": {"base": {}, "a.b": {}}})
    kinds = made["KINDS"]
    assert made["subjects"](kinds["evaluate"]) == r"base|a\.b"
    assert made["subjects"](kinds["costs"]) == "spent"
    assert made["subjects"](kinds["simulate"]) == "(?!)"


def test_what_a_rule_says_names_its_shard_or_its_subject() -> None:
    made = workflow({})
    said = {name: made["describe"](kind) for name, kind in made["KINDS"].items()}
    shard = "shard {wildcards.shard} of {wildcards.shards}"
    assert said["simulate"] == f"Simulating small systems, {shard}"
    assert said["encode"] == "Encoding pairs of states"
    assert said["evaluate"] == "Comparing with direct simulation: {wildcards.run}"
    assert said["costs"] == "Adding up costs: {wildcards.analysis}"


def test_rules_pass_on_the_study_s_name_and_title() -> None:
    assert 'RESULTS = f"results/{STUDY.name}"' in (RULES / "common.smk").read_text(encoding="utf-8")
    assert 'config=stage_params("summarise", "config"),' in words("summarise")
    made = workflow({"title": "Spins"})
    config = made["stage_params"]("summarise", "config")({})
    spent = ["costs", made["RUNS"].analyses["spent"].key]
    assert config == {"study": "t0", "title": "Spins", "analyses": {"spent": spent}}


def test_schemes_and_horizons_of_a_run_reach_its_evaluation() -> None:
    horizons = {"late": {"spacing": 2.0, "points": 5}}
    made = workflow({"baselines": ["full"], "evaluate": {"horizons": horizons}})
    wildcards = job(made["RUNS"]["base"].evaluation)
    inputs = made["stage_params"]("evaluate", "inputs")(wildcards)
    assert [role for role in inputs if role.startswith("prediction/")] == [
        f"prediction/{scheme}/{horizon}"
        for scheme in ("ours", "full")
        for horizon in ("transient", "late")
    ]
    order = made["stage_params"]("evaluate", "config")(wildcards)["order"]
    assert list(order) == ["transient", "late", "ours", "full"]
