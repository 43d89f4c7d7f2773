"""The command ``macrodyn``."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import yaml

from macrodyn import __version__
from macrodyn.cli import main, make_parser
from macrodyn.config.load import load_study
from macrodyn.pipeline.identity import (
    SUMMARY,
    SummaryOrigin,
    run_identities,
    write_summary_origin,
)
from macrodyn.pipeline.planner import plan_study
from macrodyn.pipeline.record import write_record
from macrodyn.storage.sealed import write_sealed_json
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
    config.write_text(
        "study: s\nsystem: {name: ising}\nsizes: {small: [4, 4]}\nruns: {a: {}}\n", encoding="utf-8"
    )
    assert main(["check", str(config)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"macrodyn: {config} is wrong:\n")
    assert "  sizes.large: is missing" in captured.err


def test_check_warns_of_a_condition_outside_of_its_values(capsys, tmp_path):
    content = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    content["conditions"] = {"field": [0.2, 0.3]}
    config = tmp_path / "extrapolates.yaml"
    config.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert main(["check", str(config)]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{config}: study tiny, 3 run(s)")
    first, *others = captured.err.splitlines()
    assert first.startswith("macrodyn: warning: runs.base: field is evaluated at 0.1")
    assert len(others) == 2


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
    (tmp_path / f"{module}.py").write_text(
        f"from macrodyn.systems.ising import Ising\n{code}\n", encoding="utf-8"
    )
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
    assert all(f"for method: {m}" in printed for m in ("partial-evolution", "partial-forces"))


def test_status_of_a_study_that_never_ran(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["status", str(TINY)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("study tiny in results/tiny\n0 of 44 jobs done, 44 waiting\n")
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
    assert capsys.readouterr().out.count("0 of 44 jobs done") == 3


TABLE = "run,small,large,transient:ours,transient:naive\nbase,8x8,64x64,0.012345,\n"


def write_results(folder: Path, study) -> None:
    """Write what the commands read of a study that has run with a configuration."""
    plans = plan_study(study)
    identities = run_identities(plans)
    analyses = {name: stage.key for name, stage in plans.analyses.items()}
    for name in analyses:
        (folder / "analyses" / name / "figures").mkdir(parents=True)
        (folder / "analyses" / name / "findings.json").touch()
    for run, identity in identities.items():
        write_sealed_json(folder / run / "metrics.json", {"run": run, "identity": identity})
        (folder / run / "figures").mkdir()
    head, row = TABLE.splitlines()
    lines = [head, *(row.replace("base", run) for run in identities)]
    (folder / "summary.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name in ("overview.html", "configuration.html", "provenance.html"):
        (folder / name).touch()
    for pages in ("study", "runs"):
        (folder / "pages" / pages).mkdir(parents=True)
    write_summary_origin(folder / SUMMARY, SummaryOrigin(identities, {}, study.title, analyses))


def test_summary_prints_the_table_and_where_the_report_is(capsys, tmp_path):
    (tmp_path / "summary.csv").write_text(TABLE, encoding="utf-8")
    assert main(["summary", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    header, rule, row = printed.splitlines()[:3]
    assert header.split() == ["run", "small", "large", "transient:ours", "transient:naive"]
    assert set(rule) == {"-", " "}
    assert row.split() == ["base", "8x8", "64x64", "0.0123", "-"]
    assert f"No report yet: snakemake --report {tmp_path / 'report.html'}" in printed
    (tmp_path / "report.html").write_text("<html>", encoding="utf-8")
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
    write_record(
        Path("results/tiny"), yaml.safe_load(TINY.read_text(encoding="utf-8")), GO_ON.split()[1:]
    )
    assert main(["summary", given]) == 1
    missing = "results/tiny/summary.csv is missing: run the study first"
    assert capsys.readouterr().err == f"macrodyn: {missing} ({GO_ON})\n"
    write_results(Path("results/tiny"), load_study(TINY))
    assert main(["summary", given]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("run ")
    report = f"snakemake --report results/tiny/report.html --configfile {TINY}"
    assert printed.endswith(f"\nNo report yet: {report}\n")
    made, now = Path("results/tiny/report.html"), time.time()
    made.touch()
    os.utime(made, (now + 5, now + 5))
    assert main(["summary", given]) == 0
    assert capsys.readouterr().out.endswith(f"\nReport: {made.resolve()}\n")
    os.utime(made, (now - 60, now - 60))
    assert main(["summary", given]) == 0
    older = f"The report {made.resolve()} is older than these results. To renew it: {report}"
    assert capsys.readouterr().out.endswith(f"\n{older}\n")


@pytest.fixture
def edited(tmp_path, monkeypatch) -> Path:
    """A study that has run, and the file of its configuration, in which a key was changed since."""
    monkeypatch.chdir(tmp_path)
    content = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    config = Path("a study.yaml")
    config.write_text(yaml.safe_dump(content), encoding="utf-8")
    write_results(Path("results/tiny"), load_study(config))
    write_record("results/tiny", content, ["--cores", "2", "--configfile", str(config)])
    content["system"]["parameters"]["temperature"] = 5.0
    config.write_text(yaml.safe_dump(content), encoding="utf-8")
    return config


DIFFER = """macrodyn: results/tiny has not been run with the configuration {}; these runs differ:
  base: made with another configuration
  estimated: made with another configuration
  published-setting: made with another configuration
run the study first: snakemake --cores 2 --configfile 'a study.yaml'
"""


def test_an_edited_configuration_has_no_summary(capsys, edited):
    assert main(["summary", "tiny"]) == 0
    assert "0.0123" in capsys.readouterr().out
    assert main(["summary", str(edited)]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err == DIFFER.format(edited)


def test_the_summary_by_name_is_that_of_the_last_run_even_if_it_failed(capsys, edited):
    """Its configuration is noted when it begins; the table is that of the run before."""
    write_record(
        "results/tiny", yaml.safe_load(edited.read_text(encoding="utf-8")), ["--cores", "2"]
    )
    assert main(["summary", "tiny"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "with the configuration results/tiny/study.json; these runs differ" in printed.err


def test_an_edited_configuration_is_not_done(capsys, edited):
    assert main(["status", str(edited)]) == 0
    printed = capsys.readouterr().out
    assert "\n0 of 44 jobs done, 44 waiting\n" in printed and "All done" not in printed
    assert (
        "\na study.yaml has not been run as it is. The results of these runs were made" in printed
    )
    assert "another configuration: base, estimated, published-setting\n" in printed
    assert "To run it: snakemake --cores 2 --configfile 'a study.yaml'" in printed


def test_an_edited_configuration_is_not_published(capsys, edited):
    arguments = ["publish", "tiny", "published", "--config", str(edited)]
    assert main(arguments) == 1
    assert capsys.readouterr().err == DIFFER.format(edited)
    assert not Path("published").exists()


def test_the_summary_of_one_edited_run_shows_the_others_and_names_it(capsys, edited):
    content = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    content["runs"] |= {"estimated": {"seed": 77}, "new": {"seed": 78}}
    edited.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert main(["summary", str(edited)]) == 1
    printed = capsys.readouterr()
    shown = [line.split()[0] for line in printed.out.splitlines()[2:]]
    assert shown == ["base", "published-setting"]
    assert "\n  estimated: made with another configuration\n  new: no results yet\n" in printed.err


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
        lambda it: it.write_text('{"command": "snakemake", "config": {}}', encoding="utf-8"),
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
        encoding="utf-8",
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
        encoding="utf-8",
    )
    assert done.returncode == 1
    assert done.stderr.startswith("macrodyn: ") and "Traceback" not in done.stderr


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "macrodyn", "--version"], capture_output=True, encoding="utf-8"
    )
    assert (done.returncode, done.stdout) == (0, f"macrodyn {__version__}\n")


def parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """A parser and those of its subcommands."""
    inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return [parser, *(p for action in inner for p in action.choices.values())]


def test_every_argument_has_a_help_text():
    found = parsers(make_parser())
    assert len(found) == 9
    for parser in found:
        assert parser.description
        assert [action.dest for action in parser._actions if not action.help] == []


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
    write_record(
        tmp_path / "results" / "tiny", yaml.safe_load(TINY.read_text(encoding="utf-8")), []
    )
    code = (
        "import sys; from macrodyn.cli import main\n"
        "assert main(['status', 'tiny']) == 0\n"
        "assert not {'torch', 'numba', 'xarray', 'snakemake'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=tmp_path)
