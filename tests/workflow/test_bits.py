"""What studies compute stays as it is, unless the version of a stage is raised.

``digests.json`` holds what was computed before. Remake it, by the function below, for the stages
whose version was raised, and for no others::

    python -c "from tests.workflow.test_bits import record; record('folder of results')"
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from macrodyn.config.load import load_study
from macrodyn.pipeline.planner import plan_study
from tests.workflow.digests import RECORDED, differences, machine, study_digests

pytestmark = pytest.mark.workflow

CONFIGS = Path(__file__).parent / "configs"
STUDIES = ("tiny", "tiny-curie-weiss", "tiny-predator-prey")


def digests(results: Path, name: str) -> dict:
    plans = plan_study(load_study(CONFIGS / f"{name}.yaml"))
    return study_digests(results / name, plans)


def record(results: str | Path) -> None:
    """Record what stands in a folder of results."""
    studies = {name: digests(Path(results), name) for name in STUDIES}
    text = json.dumps({"machine": machine(), "studies": studies}, sort_keys=True)
    RECORDED.write_text(text, encoding="utf-8")


def compare(results: Path, name: str) -> None:
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    found = json.loads(json.dumps(digests(results, name)))
    exact = recorded["machine"] == machine()
    assert differences(found, recorded["studies"][name], exact) == []


def test_the_tiny_study_has_the_bits_it_had(study):
    compare(study.folder / "results", "tiny")


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES[1:])
def test_other_systems_have_the_bits_they_had(workflow, name):
    done = workflow.run("--cores", "2", "--configfile", CONFIGS / f"{name}.yaml")
    assert done.returncode == 0, done.stdout[-4000:]
    compare(workflow.folder / "results", name)


def test_a_changed_value_is_seen():
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))["studies"]["tiny"]["base"]
    changed = json.loads(json.dumps(recorded))
    arrays = changed["stages"]["snapshots"]["arrays"]["states"]
    arrays[0] = "0" * 16
    assert differences(changed, recorded, exact=True) == [
        f"/stages/snapshots/arrays/states: {arrays}, recorded "
        f"{recorded['stages']['snapshots']['arrays']['states']}"
    ]
    assert differences(changed, recorded, exact=False) == []
    arrays[1] *= 1.01
    assert len(differences(changed, recorded, exact=False)) == 1
