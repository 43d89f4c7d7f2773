"""The commands that call Snakemake, and where they find the workflow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import xarray as xr
import yaml

import macrodyn.paths
from macrodyn.cli import main
from macrodyn.paths import workflow

ROOT = Path(__file__).parents[1]
TINY = ROOT / "tests" / "workflow" / "configs" / "tiny.yaml"
# In place of Snakemake: it prints what it is told, makes the report, and ends as it is asked to.
STAND_IN = """\
import os, sys
print("told:", *sys.argv[1:])
if "--report" in sys.argv:
    open(sys.argv[sys.argv.index("--report") + 1], "w").close()
sys.exit(int(os.environ.get("ENDS", "0")))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder to work in."""
    found = tmp_path / "work"
    found.mkdir()
    monkeypatch.chdir(found)
    return found


@pytest.fixture
def stand_in(tmp_path, monkeypatch) -> Path:
    """A module that is called in place of Snakemake."""
    module = tmp_path / "modules" / "snakemake.py"
    module.parent.mkdir()
    module.write_text(STAND_IN, encoding="utf-8")
    path = os.pathsep.join([str(module.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    monkeypatch.setenv("PYTHONPATH", path)
    return module


def make_checkout(folder: Path) -> Path:
    (folder / "workflow/rules").mkdir(parents=True)
    (folder / "workflow/rules/stages.smk").touch()
    (folder / "Snakefile").touch()
    return folder / "Snakefile"


def test_the_workflow_is_that_of_the_checkout(folder, monkeypatch):
    assert workflow() == ROOT / "Snakefile"
    Path("Snakefile").touch()
    assert workflow() == ROOT / "Snakefile", "another project's"
    Path("Snakefile").unlink()
    make_checkout(folder)
    assert workflow() == Path("Snakefile")


def test_the_workflow_of_an_installed_package_is_its_own(folder, tmp_path, monkeypatch):
    package = tmp_path / "lib/site-packages/macrodyn"
    package.mkdir(parents=True)
    monkeypatch.setattr(macrodyn.paths, "_PACKAGE", package)
    with pytest.raises(FileNotFoundError, match="the workflow is not there"):
        workflow()
    copied = make_checkout(package / "_workflow")
    assert workflow() == copied


SNAKEFILE = str(ROOT / "Snakefile")
CALLS = {
    "as it is": ([], "--cores all"),
    "cores": (["--cores", "3"], "--cores 3"),
    "dry run": (["-n", "--cores", "all"], "--cores all --dry-run"),
    "a profile that comes with it": (["--profile", "slurm"], f"--profile {ROOT}/profiles/slurm"),
    "another profile": (["--profile", "ours", "--cores", "2"], "--cores 2 --profile ours"),
    "more": (["--", "-q", "all", "--until", "evolve"], "--cores all -q all --until evolve"),
}


@pytest.mark.parametrize(("given", "told"), CALLS.values(), ids=CALLS)
def test_run_says_what_it_calls_and_calls_it(given, told, capfd, folder, stand_in):
    options, more = given, []
    if "--" in given:
        options, more = given[: given.index("--")], given[given.index("--") :]
    assert main(["run", str(TINY), *options, *more]) == 0
    words = f"--snakefile {SNAKEFILE} {told} --configfile {TINY}"
    assert capfd.readouterr().out == f"snakemake {words}\ntold: {words}\n"


def test_in_a_checkout_snakemake_finds_the_workflow_itself(capfd, folder, stand_in):
    make_checkout(folder)
    assert main(["run", str(TINY)]) == 0
    assert capfd.readouterr().out.startswith(f"snakemake --cores all --configfile {TINY}\n")


@pytest.mark.parametrize("status", [1, 7])
def test_the_exit_status_is_that_of_snakemake(status, folder, stand_in, monkeypatch):
    monkeypatch.setenv("ENDS", str(status))
    Path("results/tiny").mkdir(parents=True)
    old = Path("results/tiny/report.html")
    old.write_text("old", encoding="utf-8")
    assert main(["run", str(TINY)]) == status
    assert main(["report", str(TINY)]) == status
    assert old.read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize(
    ("given", "target"),
    [([], "results/tiny/report.html"), (["-o", "a.zip"], "a.zip")],
    ids=["study", "given"],
)
def test_report_goes_to_the_study_or_where_it_is_asked(given, target, capfd, folder, stand_in):
    Path("results/tiny").mkdir(parents=True)
    assert main(["report", str(TINY), *given]) == 0
    called, _, last = capfd.readouterr().out.splitlines()
    part = Path(target).with_name(f"{Path(target).stem}.part{Path(target).suffix}")
    words = f"--snakefile {SNAKEFILE} --report {part} --configfile {TINY}"
    assert called == f"snakemake {words}" and last == f"Report: {target}"
    assert Path(target).is_file() and not part.exists()


WRONG = {
    "no configuration": (["run", "none.yaml"], 1, "cannot read the configuration none.yaml"),
    "no configuration of a report": (["report", "none.yaml"], 1, "cannot read the configuration"),
    "no number of cores": (["run", str(TINY), "--cores", "0"], 2, "must be a number of at least 1"),
    "an option of Snakemake's": (["run", str(TINY), "--until"], 2, "No such option: --until"),
    "no report": (["report", str(TINY), "-o", "a.pdf"], 1, "a.pdf: must be a file .html, or .zip"),
}


@pytest.mark.parametrize(("arguments", "status", "told"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_before_snakemake_is_called(
    arguments, status, told, capfd, folder, stand_in
):
    assert main(arguments) == status
    captured = capfd.readouterr()
    assert captured.out == "" and told in captured.err


PATIENT = """\
import signal, sys, time
def end(number, frame):
    time.sleep(1)  # jobs write their checkpoints
    print("kept", signal.Signals(number).name, flush=True)
    sys.exit(3)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, end)
print("ready", flush=True)
time.sleep(300)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_snakemake_is_waited_for_where_it_is_stopped(number, folder, stand_in):
    stand_in.write_text(PATIENT, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-m", "macrodyn", "run", str(TINY)],
        stdout=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("snakemake ")
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2)
        # A terminal sends Ctrl-C to both, a cluster SIGTERM to the process that it knows.
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        printed = process.stdout.read()
    assert (printed, process.returncode) == (f"kept {number.name}\n", 3)


def test_a_snakemake_that_was_killed_is_no_success(folder, stand_in):
    stand_in.write_text("import os; os.kill(os.getpid(), 9)\n", encoding="utf-8")
    assert main(["run", str(TINY)]) == 137


@pytest.mark.workflow
def test_from_an_empty_folder_to_a_planned_run(capfd, folder, monkeypatch):
    assert main(["init", "study", "first"]) == 0
    assert main(["check", "first.yaml"]) == 0
    capfd.readouterr()
    assert main(["run", "first.yaml", "--dry-run"]) == 0
    printed = "".join(capfd.readouterr())
    assert "\nsimulate " in printed and "\nsummarise " in printed and "profiles/default" in printed
    assert not Path("results").exists()


@pytest.mark.slow
@pytest.mark.workflow
def test_a_system_of_ones_own_runs_in_its_folder(capfd, folder):
    """Jobs find its module as well; what has run can be asked about and gone on with."""
    assert main(["init", "system", "mine"]) == 0
    first = "import sys; sys.path.remove(''); from macrodyn.cli import main; sys.exit(main())"
    call = [sys.executable, "-c", first]
    done = subprocess.run(
        [*call, "run", "mine.yaml", "--cores", "2", "--", "--until", "simulate"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout
    assert list(Path("results/mine/stages/simulate").glob("*/*.nc"))
    status = subprocess.run([*call, "status", "mine"], capture_output=True, encoding="utf-8")
    assert status.returncode == 0, status.stderr
    assert f"snakemake --snakefile {SNAKEFILE} --cores 2 " in status.stdout


@pytest.mark.slow
@pytest.mark.workflow
def test_a_size_that_is_never_simulated_is_predicted_by_commands_alone(capfd, folder):
    """256x256 spins without a reference, from init to predict."""
    assert main(["init", "study", "large"]) == 0
    content = yaml.safe_load(Path("large.yaml").read_text(encoding="utf-8"))
    content["sizes"]["large"] = [256, 256]
    content["simulate"] |= {"groups": 24, "replicas": 8, "times": [0, 2, 8, 20, 50]}
    content["upsample"] = {"snapshots": 4, "relaxation": {"duration": 8, "sweep": 1}}
    content["evolve"] |= {"patches": 8, "lags": [1]}
    content["dynamics"] = {"members": 2, "steps": 400}
    content["evaluate"] |= {"reference": "none", "sizes": [[256, 256], [16, 16]]}
    content["evaluate"] |= {"initial": [-0.5, 0.5], "replicas": 50, "predicted_replicas": 50}
    Path("large.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    assert main(["check", "large.yaml"]) == 0
    assert main(["run", "large.yaml", "--cores", "2"]) == 0, capfd.readouterr().err
    # The one direct simulation is that of the small size, by which the model is checked.
    (reference,) = Path("results/large/stages/reference").iterdir()
    with xr.open_dataset(reference / "data.nc") as data:
        assert data.example_states.shape[-2:] == (16, 16)
    capfd.readouterr()
    assert main(["info", "results/large", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["merit"]["reference"].startswith("none")
    model = "results/large/base/model"
    asked = ["--initial", "magnetisation=0.4", "--until", "100", "--replicas", "40"]
    assert main(["predict", model, *asked, "-o", "large.nc"]) == 0
    with xr.open_dataset("large.nc") as data:
        late = data.z_mean_model.sel(variable="magnetisation").isel(time=-1)
        # Direct simulation of 64x64 spins has 0.731(3) at late times, and a standard deviation of
        # 0.027, of which a quarter is left at 256x256.
        assert abs(float(late.mean()) - 0.731) < 0.05
        assert 0.003 < float(late.std()) < 0.014
