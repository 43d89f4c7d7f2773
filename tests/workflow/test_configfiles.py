"""Configuration files as Snakemake is given them: a key that stands twice is refused by line."""

from __future__ import annotations

import json

import pytest
import yaml

pytestmark = pytest.mark.workflow


def test_key_that_stands_twice_is_refused_before_any_job(workflow, tiny):
    config = workflow.write_config(tiny)
    text = config.read_text(encoding="utf-8")
    config.write_text(f"{text}seed: 6\n", encoding="utf-8")
    done = workflow.run("--cores", "1", "--configfile", config)
    assert done.returncode != 0
    first = text.splitlines().index("seed: 5") + 1
    second = len(text.splitlines()) + 1
    assert f"line {second}: seed stands in line {first} already" in done.stdout
    assert "Traceback" not in done.stdout
    assert not (workflow.folder / "results").exists()


def test_key_that_stands_twice_in_the_default_configuration_is_refused(workflow):
    config = workflow.folder / "config" / "config.yaml"
    config.write_text(f"{config.read_text(encoding='utf-8')}study: again\n", encoding="utf-8")
    done = workflow.run("-n")
    assert done.returncode != 0 and "study stands in line" in done.stdout


def test_values_are_shown_as_they_stand_in_the_file(workflow, tiny):
    config = workflow.write_config({**tiny, "x-mine": {"steps": 3}})
    text = config.read_text(encoding="utf-8").replace("seed: 5", "seed: Yes")
    config.write_text(text.replace("temperature: 2.5", "temperature: on"), encoding="utf-8")
    done = workflow.run("-n", "--configfile", config)
    assert done.returncode != 0 and "Traceback" not in done.stdout
    assert "seed: must be a whole number, not Yes" in done.stdout
    assert "x-mine" not in done.stdout


@pytest.mark.parametrize("form", ["two files", "a file and --config", "JSON with tabs"])
def test_keys_of_different_sources_replace_each_other(workflow, tiny, form):
    given = {
        "two files": ["--configfile", "edited.yaml", "other.yaml"],
        "a file and --config": ["--configfile", "edited.yaml", "--config", "study=other"],
        "JSON with tabs": ["--configfile", "tabs.json"],
    }
    workflow.write_config({**tiny, "x-mine": {"steps": 3}})
    workflow.write_config({"study": "other"}, "other.yaml")
    tabs = json.dumps({**tiny, "study": "other"}, indent="\t")
    (workflow.folder / "tabs.json").write_text(tabs, encoding="utf-8")
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load(tabs)
    done = workflow.run("-n", *given[form])
    assert done.returncode == 0, done.stdout
    assert "results/other/" in done.stdout and "results/tiny/" not in done.stdout
