"""The command ``macrodyn``."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import yaml

from macrodyn import __version__
from macrodyn.cli import main
from macrodyn.pipeline.record import write_record
from macrodyn.systems import available_systems, system_class

ROOT = Path(__file__).parents[1]
TINY = ROOT / "tests" / "workflow" / "configs" / "tiny.yaml"


def test_check_lists_runs_and_shared_stages(capsys):
    assert main(["check", str(TINY)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].endswith("tiny.yaml: study tiny, 3 run(s), 24 stage(s)")
    assert printed[1:] == [
        "  base: 16 stages, 6 of them shared with other runs",
        "  estimated: 8 stages, 6 of them shared with other runs",
        "  published-setting: 8 stages, 2 of them shared with other runs",
    ]


def test_check_tells_what_is_wrong(capsys, tmp_path):
    config = tmp_path / "wrong.yaml"
    config.write_text("study: s\nsystem: {name: ising}\nsizes: {small: [4, 4]}\nruns: {a: {}}\n")
    assert main(["check", str(config)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"macrodyn: {config} is wrong:\n")
    assert "  sizes.large: is missing" in captured.err


def test_check_of_no_file(capsys, tmp_path):
    assert main(["check", str(tmp_path / "none.yaml")]) == 1
    assert "cannot read the configuration" in capsys.readouterr().err


OWN = {
    "without a docstring": ("class Own(Ising):\n    pass", "own: (its class has no docstring)\n"),
    "cannot be imported": ("1 / 0", "own: cannot be used ("),
    "is not there": ("", "own: cannot be used ("),
    "is no system": ("Own = 3", "own: cannot be used ("),
    "has no parameters": ("class Own(Ising):\n    Parameters = None", "own: cannot be used ("),
}


@pytest.mark.parametrize(("code", "expected"), OWN.values(), ids=OWN)
def test_systems_are_listed_with_one_that(code, expected, capsys, tmp_path, monkeypatch, request):
    module = f"listed_{list(OWN).index(request.node.callspec.id)}"
    (tmp_path / f"{module}.py").write_text(f"from macrodyn.systems.ising import Ising\n{code}\n")
    monkeypatch.syspath_prepend(tmp_path)
    own = EntryPoint("own", f"{module}:Own", "macrodyn.systems")
    found = {**available_systems(), "own": own}
    monkeypatch.setattr("macrodyn.systems.available_systems", lambda: found)
    monkeypatch.setattr("macrodyn.systems.registry.available_systems", lambda: found)
    system_class.cache_clear()
    assert main(["systems"]) == 0
    system_class.cache_clear()
    printed = capsys.readouterr().out
    assert expected in printed and "\npredator-prey: " in printed


def test_systems_are_listed_with_their_parameters(capsys):
    assert main(["systems"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("ising: Two-dimensional Ising") or "\nising: " in f"\n{printed}"
    assert "  temperature (required): Temperature" in printed
    assert "  field (default 0.0): Magnetic field" in printed


def test_status_of_a_study_that_never_ran(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["status", str(TINY)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("study tiny in results/tiny\n0 of 37 jobs done, 37 waiting\n")
    assert f"To run it: snakemake --cores all --configfile {TINY}" in printed


def test_status_of_no_study(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["status", "missing"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and "macrodyn: there is no study missing" in captured.err


OPTIONS = {
    "lines": ("--lines", ["-1", "few", "1.5", ""], "a whole number of at least 0"),
    "watch": (
        "--watch",
        ["-3", "0", "soon", "nan", "inf", "1e9"],
        "a number of seconds, more than 0 and at most 86400",
    ),
}


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [(option, value, wanted) for option, values, wanted in OPTIONS.values() for value in values],
)
def test_status_refuses_a_wrong_number(capsys, option, value, wanted):
    with pytest.raises(SystemExit) as stop:
        main(["status", str(TINY), f"{option}={value}"])
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"argument {option}: must be {wanted}, not {value!r}\n" in captured.err


def test_watched_status_is_shown_again_until_it_is_interrupted(capsys, tmp_path, monkeypatch):
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("macrodyn.cli.time.sleep", sleep)
    assert main(["status", str(TINY), "--watch", "2.5"]) == 0
    assert waits == [2.5] * 3
    assert capsys.readouterr().out.count("0 of 37 jobs done") == 3


TABLE = "run,small,large,transient:ours,transient:naive\nbase,8x8,64x64,0.012345,\n"


def test_summary_prints_the_table_and_where_the_report_is(capsys, tmp_path):
    (tmp_path / "summary.csv").write_text(TABLE)
    assert main(["summary", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    header, rule, row = printed.splitlines()[:3]
    assert header.split() == ["run", "small", "large", "transient:ours", "transient:naive"]
    assert set(rule) == {"-", " "}
    assert row.split() == ["base", "8x8", "64x64", "0.0123", "-"]
    assert f"No report yet: snakemake --report {tmp_path / 'report.html'}" in printed
    (tmp_path / "report.html").write_text("<html>")
    assert main(["summary", str(tmp_path)]) == 0
    assert f"Report: {(tmp_path / 'report.html').resolve()}" in capsys.readouterr().out


def test_summary_of_no_study(capsys, tmp_path):
    assert main(["summary", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"{tmp_path / 'summary.csv'} is missing: run the study first" in captured.err
    assert "(snakemake --cores all --configfile CONFIG.yaml)" in captured.err


GO_ON = f"snakemake --cores all --configfile {TINY}"


@pytest.mark.parametrize("given", ["tiny", "results/tiny", str(TINY)])
def test_summary_finds_the_study_as_status_does(capsys, tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    write_record(Path("results/tiny"), yaml.safe_load(TINY.read_text()), GO_ON.split()[1:])
    assert main(["summary", given]) == 1
    missing = "results/tiny/summary.csv is missing: run the study first"
    assert capsys.readouterr().err == f"macrodyn: {missing} ({GO_ON})\n"
    Path("results/tiny/summary.csv").write_text(TABLE)
    assert main(["summary", given]) == 0
    assert capsys.readouterr().out.startswith("run ")


def test_summary_of_a_study_that_is_not_there(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["summary", "missing"]) == 1
    assert "macrodyn: there is no study missing: give its conf" in capsys.readouterr().err


def test_a_folder_in_place_of_the_table_is_to_be_moved(capsys, tmp_path):
    (tmp_path / "summary.csv").mkdir()
    assert main(["summary", str(tmp_path)]) == 1
    message = f"{tmp_path / 'summary.csv'} is a folder: move it away, then run the study again"
    assert capsys.readouterr().err == f"macrodyn: {message}\n"


FOLDERS = {
    "no record": (lambda it: None, "study.json is missing: it is written when the study is run"),
    "a folder": (lambda it: it.mkdir(), "study.json is a folder: move it away"),
    "an empty configuration": (
        lambda it: it.write_text('{"command": "snakemake", "config": {}}'),
        "study.json holds an empty configuration: the next run writes it anew",
    ),
}


@pytest.mark.parametrize(("make", "reason"), FOLDERS.values(), ids=FOLDERS)
def test_status_of_a_folder_without_a_record_says_what_to_do(capsys, tmp_path, make, reason):
    make(tmp_path / "study.json")
    assert main(["status", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert reason in told
    assert told.endswith("; name the configuration instead (macrodyn status CONFIG.yaml)\n")


@pytest.mark.parametrize("command", [["systems"], ["status", str(TINY)], ["check", str(TINY)]])
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_output_that_nobody_reads_is_no_error(tmp_path, command, unbuffered):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "macrodyn.cli", *command],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.strip() == f"macrodyn {__version__}"


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["check"]], ids=["none", "unknown", "few"])
def test_wrong_arguments_are_explained(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: macrodyn" in capsys.readouterr().err


def test_module_returns_its_status_to_the_shell(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "macrodyn.cli", "summary", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("macrodyn: ") and "Traceback" not in done.stderr


def test_help_is_fast():
    """Help and errors of arguments need no numerical library."""
    code = (
        "import sys; from macrodyn.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'numba', 'xarray'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_status_of_a_studys_folder_loads_no_numerical_library(tmp_path):
    """It is asked again and again, on a cluster's login node."""
    write_record(tmp_path / "results" / "tiny", yaml.safe_load(TINY.read_text()), [])
    code = (
        "import sys; from macrodyn.cli import main\n"
        "assert main(['status', 'tiny']) == 0\n"
        "assert not {'torch', 'numba', 'xarray', 'snakemake'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=tmp_path)
