"""The command ``macrodyn``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from macrodyn import __version__
from macrodyn.cli import main
from macrodyn.pipeline.record import write_record

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


@pytest.mark.parametrize("lines", ["-1", "few"])
def test_status_refuses_a_wrong_number_of_lines(capsys, lines):
    with pytest.raises(SystemExit) as stop:
        main(["status", "study", "--lines", lines])
    assert stop.value.code == 2
    assert "argument --lines: " in capsys.readouterr().err


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


TABLE = "run,small,large,transient_ours,transient_naive\nbase,8x8,64x64,0.012345,\n"


def test_summary_prints_the_table_and_where_the_report_is(capsys, tmp_path):
    (tmp_path / "summary.csv").write_text(TABLE)
    assert main(["summary", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    header, rule, row = printed.splitlines()[:3]
    assert header.split() == ["run", "small", "large", "transient", "ours", "transient", "naive"]
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
