"""What the workflow's own text does with a configuration: its functions, without Snakemake."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from macrodyn.config.load import load_study, merge
from macrodyn.pipeline.job import _device, _has_gpu
from macrodyn.pipeline.plan import plan_study, study_stages
from macrodyn.systems import system_class

from .bench import BASE

RULES = Path(__file__).parents[2] / "workflow" / "rules"


def workflow(changes: dict[str, Any], gres: str = "") -> dict[str, Any]:
    """The functions of common.smk, for a study."""
    study = load_study(merge(BASE, changes), check_systems=False)
    runs = plan_study(study)
    resources = SimpleNamespace(default_resources={"gpu_gres": gres} if gres else None)
    names = {
        "STUDY": study,
        "RUNS": runs,
        "STAGES": study_stages(runs),
        "AT": "stages",
        "workflow": SimpleNamespace(resource_settings=resources),
        "system_class": system_class,
    }
    # Snakemake's own words stand between them, so that the file as a whole is no Python.
    for text in re.split(r"(?m)^(?=\S)", (RULES / "common.smk").read_text(encoding="utf-8")):
        if text.startswith("def "):
            exec(compile(ast.parse(text), "common.smk", "exec"), names)
    return names


def words(rule: str) -> str:
    """A rule, on one line."""
    (text,) = (
        found[0]
        for file in RULES.glob("*.smk")
        if (
            found := re.search(
                rf"(?ms)^rule {rule}:.*?(?=^\S|\Z)", file.read_text(encoding="utf-8")
            )
        )
    )
    return " ".join(text.split())


@pytest.mark.parametrize("gres", ["", "gpu:1"], ids=["by number", "by the cluster's name"])
@pytest.mark.parametrize("name", ["upsample", "evolve", "closure", "dynamics", "predict"])
def test_device_of_a_stage_is_asked_for_and_used(
    monkeypatch: pytest.MonkeyPatch, name: str, gres: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert f'gpu=stage_gpus("{name}"), gres=stage_gres("{name}")' in words(name)
    for device in ("cpu", "cuda"):
        made = workflow({"execution": {"device": device}}, gres)
        key = next(key for stage, key in made["STAGES"] if stage == name)
        wildcards = SimpleNamespace(key=key)
        resources = {kind: made[f"stage_{kind}"](name)(wildcards) for kind in ("gpus", "gres")}
        asked = {"gpu": resources["gpus"], "gres": resources["gres"]}
        assert _device(_has_gpu(asked)) == device


def test_sampling_stays_on_the_processor_where_the_system_knows_no_other() -> None:
    made = workflow({"execution": {"device": "cuda"}, "system": {"name": "curie-weiss"}})
    for (name, key), stage in made["STAGES"].items():
        wanted = made["wants_gpu"](name, SimpleNamespace(key=key))
        assert wanted == (name not in ("upsample", "evolve")), stage.name


@pytest.mark.parametrize("name", ["simulate", "upsample", "evolve", "reference"])
def test_stage_is_cut_into_its_shards(name: str) -> None:
    assert "shard_files(STAGES[wildcards.stage, wildcards.key])" in words("gather")
    made = workflow({"execution": {"shards": {name: 3}}})
    cut = {stage: len(made["shard_files"](s)) for (stage, _), s in made["STAGES"].items()}
    assert {stage for stage, files in cut.items() if files == 3} == {name}


def test_rules_pass_on_the_study_s_name_and_title() -> None:
    assert 'RESULTS = f"results/{STUDY.name}"' in (RULES / "common.smk").read_text(encoding="utf-8")
    assert "study=STUDY.name, title=STUDY.title," in words("summarise")


def test_methods_and_horizons_of_a_run_reach_its_evaluation() -> None:
    assert "predictions=every_prediction" in words("evaluate")
    horizons = {"late": {"spacing": 2.0, "points": 5}}
    made = workflow({"baselines": ["full"], "evaluate": {"horizons": horizons}})
    made["RUNS"] = {"base": next(iter(made["RUNS"].values()))}
    predictions = made["every_prediction"](SimpleNamespace(run="base"))
    assert {method: list(paths) for method, paths in predictions.items()} == {
        method: ["transient", "late"] for method in ("ours", "full")
    }
