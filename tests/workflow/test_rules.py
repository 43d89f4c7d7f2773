"""The workflow's text: complete rules in one order, short scripts, no complaint of the linter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from macrodyn.config.load import load_study
from macrodyn.pipeline.planner import plan_study

ROOT = Path(__file__).parents[2]
SNAKEFILES = sorted((ROOT / "workflow" / "rules").glob("*.smk"))
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
ORDER = [
    "name",
    "input",
    "output",
    "log",
    "benchmark",
    "wildcard_constraints",
    "conda",
    "threads",
    "resources",
    "params",
    "message",
    "script",
]


def rules() -> dict[str, dict[str, str]]:
    """Directives of every rule, in the order in which they stand."""
    found: dict[str, dict[str, str]] = {}
    for file in SNAKEFILES:
        directives, indent = None, ""
        for line in file.read_text(encoding="utf-8").splitlines():
            if start := re.match(r"( *)rule ?(\w*):", line):
                indent = start[1]
                directives = found.setdefault(start[2] or "of a kind", {})
            elif line and not line.startswith(" "):
                directives = None
            elif directives is not None and (
                entry := re.match(rf"{indent} {{4}}(\w+):\s*(.*)", line)
            ):
                name = entry[1]
                directives[name] = entry[2]
            elif directives:
                directives[name] += line.strip()
    return found


RULES = rules()


def test_there_is_one_rule_for_all_kinds_of_stages():
    assert set(RULES) == {"of a kind", "gather", "summarise"}
    assert [path.stem for path in SCRIPTS] == ["stage"]


@pytest.mark.parametrize("name", RULES)
def test_rule_is_complete_and_in_order(name):
    directives = list(RULES[name])
    assert directives == [key for key in ORDER if key in directives]
    of_a_kind = set() if name == "of a kind" else {"name", "wildcard_constraints"}
    assert set(directives) == set(ORDER) - of_a_kind


@pytest.mark.workflow
def test_every_kind_has_a_rule_of_its_name(study):
    done = study.run("-l", "--configfile", study.config_file)
    kinds = plan_study(load_study(study.config_file)).kinds
    assert {"all", "gather", *kinds} == set(done.stdout.split("\n")[-len(kinds) - 3 : -1])


@pytest.mark.parametrize("name", RULES)
def test_rule_names_files_that_exist(name):
    here = ROOT / "workflow" / "rules"
    named = re.findall(r'"(\.\./[^"]+)"', " ".join(RULES[name].values()))
    assert len(named) >= 1
    for path in named:
        assert (here / path).is_file(), path


@pytest.mark.parametrize("name", RULES)
def test_rule_asks_for_memory_and_time(name):
    # Those of a kind are what its stage says, which the study may have said.
    asked = RULES[name]["resources"]
    assert re.search(r"mem_mb=(memory\(\d+|stage_memory\(kind.name)\)", asked)
    assert re.search(r"runtime=(minutes\(\d+|stage_minutes\(kind.name)\)", asked)
    assert RULES[name]["threads"].isdigit()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 40


def test_every_rule_file_is_included_once():
    included = re.findall(
        r'include: "workflow/rules/(\w+\.smk)"', (ROOT / "Snakefile").read_text(encoding="utf-8")
    )
    assert sorted(included) == [path.name for path in SNAKEFILES]
    assert included[0] == "common.smk"


def test_default_profile_leaves_the_choice_of_cluster_open():
    profile = yaml.safe_load(
        (ROOT / "profiles" / "default" / "config.yaml").read_text(encoding="utf-8")
    )
    assert not {"executor", "jobs", "cores", "default-resources"} & set(profile)


@pytest.mark.workflow
def test_linter_has_no_complaint(workflow, tiny):
    done = workflow.run("--lint", "--configfile", workflow.write_config(tiny))
    assert done.returncode == 0, done.stdout
