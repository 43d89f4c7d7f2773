"""A method and a system from outside run beside Ising, with no change to the package."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from macrodyn.cli import main
from macrodyn.pipeline.monitor.status import study_status
from macrodyn.pipeline.report.summary import read_summary
from macrodyn.storage.netcdf import read_dataset
from macrodyn.storage.sealed import read_sealed_json

pytestmark = pytest.mark.workflow

HOUSE = Path(__file__).parents[1] / "house"


@pytest.fixture(scope="module", autouse=True)
def on_the_path():
    """What is installed on a user's machine: the module can be imported, here and in all jobs."""
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(HOUSE))
    patch.setenv("PYTHONPATH", str(HOUSE))
    yield
    patch.undo()


@pytest.fixture
def config(tiny):
    """The tiny study's base with one run of each method, and one that changes the own one."""
    parameters = tiny["system"].pop("parameters")
    own = {"method": "own_house:MeanDecay", "system": {"name": "own_house:Decay"}}
    return {
        **tiny,
        "runs": {
            "ising": {"system": {"parameters": parameters}},
            "decay": {**own, "execution": {"shards": {"tabulate": 3, "sample_paths": 2}}},
            "faster": {**own, "system": {**own["system"], "parameters": {"rate": 2.0}}},
        },
    }


OWN_JOBS = {"tabulate": 5, "sample_paths": 4, "fit_rate": 2, "judge_rate": 2, "compare_rates": 1}


def test_own_method_and_system_beside_ising(workflow, config, job_counts, capsys, monkeypatch):
    file = workflow.write_config(config)
    monkeypatch.chdir(workflow.folder)
    assert main(["check", str(file)]) == 0
    assert "decay: 3 stages" in capsys.readouterr().out
    # Stopped half-way: the paths of one run are there.
    done = workflow.run("--cores", "2", "--configfile", file, "--until", "sample_paths")
    assert done.returncode == 0, done.stdout[-4000:]
    half = {s.job.rule: s.state for s in study_status(file).jobs}
    assert half["tabulate"] == "done" and half["fit_rate"] == half["simulate"] == "waiting"
    done = workflow.run("--cores", "2", "--configfile", file)
    assert done.returncode == 0, done.stdout[-4000:]
    resumed = job_counts(done.stdout)
    assert "tabulate" not in resumed and "sample_paths" not in resumed
    assert resumed["fit_rate"] == 2 and resumed["evaluate"] == 1

    states = study_status(file).jobs
    assert {job.state for job in states} == {"done"}
    counted = {rule: sum(s.job.rule == rule for s in states) for rule in OWN_JOBS}
    assert counted == OWN_JOBS
    assert "Nothing to be done" in workflow.run("-n", "--configfile", file).stdout

    results = workflow.folder / "results/tiny"
    ising, decay, faster = read_summary(results / "summary.csv")
    assert ising["transient:ours"] > 0 and decay["transient:ours"] is None
    # 2,000 particles: the error of the rate is some percent.
    assert decay["error"] < 0.15 and faster["error"] < 0.15
    assert decay["rate"] == pytest.approx(1, rel=0.15) and faster["rate"] > 1.6
    costs = read_sealed_json(results / "decay/metrics.json")["costs"]["ours"]
    assert set(costs) == {"tabulate", "sample_paths", "fit_rate"}
    assert costs["sample_paths"]["site_updates"] == 40 * 50
    assert decay["core_seconds_ours"] == sum(stage["core_seconds"] for stage in costs.values())
    assert set(read_sealed_json(results / "analyses/rates/findings.json")["rates"]) == {
        "decay",
        "faster",
    }

    target = workflow.folder / "report.html"
    report = workflow.run("--report", target, "--configfile", file)
    assert report.returncode == 0, report.stdout
    text = target.read_text(encoding="utf-8")
    for page in (
        "01 Decay",
        "Rates",
        "01 Trajectories to explore",
        "02 Trajectories, transient, ours",
    ):
        assert page in text, page


def test_what_was_prepared_decides_what_is_made_again(workflow, config, job_counts):
    file = workflow.write_config(config)
    done = workflow.run("--cores", "2", "--configfile", file, "--until", "judge_rate")
    assert done.returncode == 0, done.stdout[-4000:]
    # Another cut of what is finished reruns nothing; it gives the same bits where it is made anew.
    config["runs"]["decay"]["execution"]["shards"] = {"tabulate": 1, "sample_paths": 5}
    planned = workflow.run(
        "-n", "--configfile", workflow.write_config(config), "--until", "judge_rate"
    )
    assert job_counts(planned.stdout) == {}, planned.stdout
    results = workflow.folder / "results/tiny/stages"
    before = {path: read_dataset(path) for path in results.glob("*/*/data.nc")}
    shutil.rmtree(results)
    for run in ("decay", "faster"):
        (results.parent / run / "metrics.json").unlink()
    done = workflow.run("--cores", "2", "--configfile", file, "--until", "judge_rate")
    assert done.returncode == 0, done.stdout[-4000:]
    for path, data in before.items():
        assert read_dataset(path).equals(data)
    # The table depends on its own parameters, and all that uses the system on the table.
    config["runs"]["faster"]["system"]["parameters"]["quantiles"] = 600
    planned = workflow.run(
        "-n", "--configfile", workflow.write_config(config), "--until", "judge_rate"
    )
    counts = job_counts(planned.stdout)
    assert counts["tabulate"] == 2 and counts["sample_paths"] == 2 and counts["judge_rate"] == 1


WRONG = {
    "a key of the method": ({"paths": {"number": 0}}, "runs.decay.paths.number: must be greater"),
    "a check of the method": ({"paths": {"particles": 1}}, "runs.decay.paths.particles: one parti"),
    "a parameter": ({"system": {"parameters": {"rate": -1}}}, "runs.decay.system.parameters.rate"),
    "a section of the other method": ({"evolve": {"dt": 1}}, "runs.decay.evolve: unknown key"),
    "an unknown stage": ({"execution": {"shards": {"fit_rate": 2}}}, "execution.shards.fit_rate"),
    "an unknown method": ({"method": "own_house:Nothing"}, "method: cannot load method"),
}


@pytest.mark.parametrize(("changes", "told"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_by_its_key(workflow, config, capsys, changes, told):
    run = config["runs"]["decay"]
    for key, value in changes.items():
        run[key] = {**run[key], **value} if isinstance(run.get(key), dict) else value
    assert main(["check", str(workflow.write_config(config))]) == 1
    assert told in capsys.readouterr().err
