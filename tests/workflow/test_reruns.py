"""An edited key reruns the rules that depend on it, and no others."""

from __future__ import annotations

import copy
from typing import Any

import pytest

pytestmark = pytest.mark.workflow

ANALYSES = dict.fromkeys(
    ("error_against_size", "all_runs", "covariance_factors", "costs", "summarise"), 1
)
# Of runs of equal size, the first is compared with those of other sizes.
OF_ALL_RUNS = {name: 1 for name in ANALYSES if name != "error_against_size"}
LEARNING = {"encode": 4, "dynamics": 5, "predict": 5, "evaluate": 3, "trained_model": 3, **ANALYSES}


def edited(config: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Set one key; a value of ... takes it away."""
    result = copy.deepcopy(config)
    *parents, last = path.split("/")
    part = result
    for name in parents:
        part = part.setdefault(name, {})
    if value is ...:
        del part[last]
    else:
        part[last] = value
    return result


CASES = {
    "nothing": ("seed", 5, {}),
    "the same parameters in other words": (
        "system/parameters",
        {"algorithm": "auto", "field": "1e-1", "temperature": 2.5},
        {},
    ),
    "title": ("title", "Another title", {"summarise": 1}),
    "published": (
        "runs/base/published/transient",
        {"published, ours": 0.02},
        {"evaluate": 1, "trained_model": 1, **ANALYSES},
    ),
    "equilibrium fraction": (
        "evaluate/equilibrium_fraction",
        0.5,
        {"evaluate": 3, "trained_model": 3, **ANALYSES},
    ),
    "reference replicas": (
        "evaluate/replicas",
        6,
        {"reference": 1, "gather": 1, "evaluate": 3, "trained_model": 3, **ANALYSES},
    ),
    "predicted replicas": (
        "evaluate/predicted_replicas",
        6,
        {"predict": 5, "evaluate": 3, "trained_model": 3, **ANALYSES},
    ),
    "dynamics steps": (
        "dynamics/steps",
        30,
        {"dynamics": 5, "predict": 5, "evaluate": 3, "trained_model": 3, **ANALYSES},
    ),
    "covariance factor": (
        "runs/estimated/dynamics/covariance_factor",
        5.0,
        {"dynamics": 1, "predict": 1, "evaluate": 1, "trained_model": 1, **OF_ALL_RUNS},
    ),
    "closure dimension": ("closure/dimension", 2, {"closure": 2, **LEARNING}),
    "time of a pair": (
        "evolve/dt",
        0.5,
        {
            "evolve": 3,
            "gather": 3,
            "encode": 3,
            "dynamics": 4,
            "predict": 4,
            "evaluate": 2,
            "trained_model": 2,
            **ANALYSES,
        },
    ),
    "temperature": (
        "system/parameters/temperature",
        2.6,
        {
            "simulate": 2,
            "upsample": 2,
            "evolve": 4,
            "reference": 1,
            "gather": 8,
            "closure": 2,
            **LEARNING,
        },
    ),
    "a run more": (
        "runs/narrow",
        {"dynamics": {"hidden": [4]}},
        {"dynamics": 1, "predict": 1, "evaluate": 1, "trained_model": 1, **OF_ALL_RUNS},
    ),
    # Two runs are too few to compare all of them.
    "a run less": ("runs/estimated", ..., {"covariance_factors": 1, "costs": 1, "summarise": 1}),
    "shards": (
        "execution/shards",
        {"simulate": 1, "upsample": 2, "evolve": 3, "reference": 2},
        {},
    ),
    "device": ("execution/device", "cuda", {}),
    "memory": ("execution/memory", {"evolve": 1234}, {}),
    "minutes": ("execution/minutes", {"evolve": 12}, {}),
    "an analysis more": (
        "analyses",
        {"spent": {"kind": "costs", "runs": ["base"]}},
        {"costs": 1, "summarise": 1},
    ),
    "a sweep": (
        "sweep",
        {"evaluate.equilibrium_fraction": [0.5]},
        {"evaluate": 3, "trained_model": 3, **ANALYSES},
    ),
}


def test_the_order_of_keys_reruns_no_stage(study, job_counts, tmp_path):
    def backwards(value):
        if isinstance(value, dict):
            return {key: backwards(value[key]) for key in reversed(value)}
        return value

    config = study.write_config(backwards(study.config), tmp_path / "edited.yaml")
    done = study.run("-n", "--configfile", config)
    assert done.returncode == 0, done.stdout
    # Runs and horizons are shown in the order in which they are given.
    assert set(job_counts(done.stdout)) <= {"evaluate", "trained_model", *ANALYSES, "all"}


@pytest.mark.parametrize(("path", "value", "expected"), CASES.values(), ids=CASES)
def test_edit_reruns_only_what_depends_on_it(study, job_counts, tmp_path, path, value, expected):
    config = study.write_config(edited(study.config, path, value), tmp_path / "edited.yaml")
    done = study.run("-n", "--configfile", config)
    assert done.returncode == 0, done.stdout
    counts = job_counts(done.stdout)
    assert counts.pop("all", 0) == (1 if expected else 0)
    assert counts == expected
