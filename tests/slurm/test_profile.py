"""The cluster profile is found where Snakemake looks for it, and nothing overrides it silently."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from macrodyn.methods.partial_evolution.stages import COSTS, EVALUATE, KINDS
from macrodyn.pipeline.study_kinds import SUMMARISE

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def profile():
    return yaml.safe_load((ROOT / "slurm" / "config.yaml").read_text(encoding="utf-8"))


def test_name_in_the_root_leads_to_the_profile():
    assert (ROOT / "slurm").is_symlink()
    assert (ROOT / "slurm").resolve() == ROOT / "profiles" / "slurm"


def test_no_key_stands_in_the_default_profile_too(profile):
    default = yaml.safe_load(
        (ROOT / "profiles" / "default" / "config.yaml").read_text(encoding="utf-8")
    )
    # It is read after the other one, so that its value would count.
    assert not set(default) & set(profile)


def test_no_text_value_is_the_name_of_a_file_beside_it(profile):
    # Snakemake would take it for a path.
    texts = {value for value in profile.values() if isinstance(value, str)}
    assert not texts & {path.name for path in (ROOT / "profiles" / "slurm").iterdir()}


def test_jobs_are_told_to_stop_before_their_shortest_time_limit(profile):
    seconds = int(profile["default-resources"]["slurm_extra"].strip("'").split("@")[1])
    of_kinds = [kind.minutes for kind in (*KINDS, EVALUATE, COSTS, SUMMARISE)]
    text = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "workflow" / "rules").glob("*.smk")
    )
    shortest = min(*of_kinds, *map(int, re.findall(r"runtime=minutes\((\d+)\)", text)))
    assert seconds < 60 * shortest / 2
