"""The workflow's text: complete rules in one order, short scripts, no complaint of the linter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SNAKEFILES = sorted((ROOT / "workflow" / "rules").glob("*.smk"))
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
ORDER = [
    "input",
    "output",
    "log",
    "benchmark",
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
        directives = None
        for line in file.read_text(encoding="utf-8").splitlines():
            if start := re.match(r"rule (\w+):", line):
                directives = found.setdefault(start[1], {})
            elif line and not line.startswith(" "):
                directives = None
            elif directives is not None and (entry := re.match(r" {4}(\w+):\s*(.*)", line)):
                name = entry[1]
                directives[name] = entry[2]
            elif directives:
                directives[name] += line.strip()
    return found


RULES = rules()


def test_every_stage_has_its_rule():
    assert len(RULES) == 11
    assert {name for name in RULES if name != "gather"} | {"gather"} == {
        path.stem for path in SCRIPTS
    }


@pytest.mark.parametrize("name", RULES)
def test_rule_is_complete_and_in_order(name):
    directives = list(RULES[name])
    assert directives == [key for key in ORDER if key in directives]
    needed = set(ORDER) - {"input"} if name in ("simulate", "reference") else set(ORDER)
    assert set(directives) == needed


@pytest.mark.parametrize("name", RULES)
def test_rule_names_files_that_exist(name):
    here = ROOT / "workflow" / "rules"
    named = re.findall(r'"(\.\./[^"]+)"', " ".join(RULES[name].values()))
    assert len(named) >= 2
    for path in named:
        assert (here / path).is_file(), path


@pytest.mark.parametrize("name", RULES)
def test_rule_asks_for_memory_and_time(name):
    assert re.search(r"mem_mb=memory\(\d+\)", RULES[name]["resources"])
    assert re.search(r"runtime=minutes\(\d+\)", RULES[name]["resources"])
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
