"""The command ``macrodyn``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import typer
import yaml

from macrodyn import __version__
from macrodyn.cli import app, main
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
    assert f"To run it: macrodyn run {TINY}" in printed


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
    assert main(["status", str(TINY), f"{option}={value}"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    told = f"macrodyn: Invalid value for '{option}': must be {wanted}, not {value!r}\n"
    assert captured.err.endswith(told)


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


def test_summary_of_no_study(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert main(["summary", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"{tmp_path / 'summary.csv'} is missing: run the study first" in captured.err
    assert "(snakemake --cores all --configfile CONFIG.yaml)" in captured.err
    # Elsewhere Snakemake does not find the workflow by itself.
    monkeypatch.chdir(tmp_path)
    assert main(["summary", str(tmp_path)]) == 1
    assert "run the study first (macrodyn run CONFIG.yaml)" in capsys.readouterr().err


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
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"macrodyn {__version__}"


USE = {
    "none": ([], "", "Missing command."),
    "few": (["check"], " check", "Missing argument 'CONFIG'."),
    "unknown command": (["plot"], "", "No such command 'plot'."),
    "mistyped command": (["sumary"], "", "No such command 'sumary'. Did you mean 'summary'?"),
    "mistyped command of a group": (
        ["init", "studdy"],
        " init",
        "No such command 'studdy'. Did you mean 'study'?",
    ),
    "mistyped option": (
        ["status", "x", "--line", "3"],
        " status",
        "No such option: --line (Possible options: --lines)",
    ),
    "two that exclude each other": (
        ["status", "x", "--json", "--watch", "3"],
        "",
        "--json prints one document, --watch many: give one of the two",
    ),
}


@pytest.mark.parametrize(("arguments", "command", "told"), USE.values(), ids=USE)
def test_wrong_arguments_are_explained(capsys, arguments, command, told):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    usage, *_, last = captured.err.splitlines()
    assert last.startswith("macrodyn: ") and told in last
    assert not command or usage.startswith(f"Usage: macrodyn{command} [OPTIONS]")


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


def commands(group=None, name="macrodyn"):
    """The commands by what is typed to call them."""
    group = group or typer.main.get_command(app)
    yield name, group
    for inner, command in getattr(group, "commands", {}).items():
        yield from commands(command, f"{name} {inner}")


COMMANDS = dict(commands())


def test_every_argument_has_a_help_text():
    assert len(COMMANDS) == 14
    for command in COMMANDS.values():
        assert command.help
        assert [parameter.name for parameter in command.params if not parameter.help] == []


def shown(arguments, **environment):
    """What a user sees, who has no terminal unless the environment says so."""
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "FORCE_COLOR", "NO_COLOR")}
    return subprocess.run(
        [sys.executable, "-m", "macrodyn", *arguments],
        capture_output=True,
        encoding="utf-8",
        env=kept | {"PYTHONUTF8": "1", **environment},
    )


@pytest.mark.parametrize("command", ["macrodyn", "macrodyn predict"])
def test_help_fits_into_a_terminal_and_is_plain_without_one(command):
    done = shown([*command.split()[1:], "--help"])
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Usage: {command} [OPTIONS]" in done.stdout and "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    # Types of flags say nothing, and no word is cut short.
    assert "<bool>" not in done.stdout and "…" not in done.stdout


def test_every_help_fits_into_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for command in COMMANDS:
        assert main([*command.split()[1:], "-h"]) == 0
        printed = capsys.readouterr().out
        assert f"Usage: {command} " in printed
        assert max(map(len, printed.splitlines())) <= 80 and "…" not in printed


def test_help_has_colours_unless_they_are_not_wanted():
    assert "\x1b[1;36m" in shown(["--help"], FORCE_COLOR="1", TERM="xterm").stdout
    plain = shown(["--help"], FORCE_COLOR="1", NO_COLOR="1", TERM="xterm").stdout
    assert "\x1b[1;36m" not in plain and "Learn the macroscopic dynamics" in plain


def complete(words, folder):
    """What a shell is told that a word may go on with."""
    environment = {
        "_MACRODYN_COMPLETE": "complete_bash",
        "COMP_WORDS": f"macrodyn {words}",
        "COMP_CWORD": str(len(words.split(" "))),
    }
    done = subprocess.run(
        [sys.executable, "-m", "macrodyn"],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | environment,
        cwd=folder,
    )
    assert done.stderr == ""
    return done.stdout.split()


COMPLETED = {
    "commands": ("su", ["summary"]),
    "options": ("status --js", ["--json"]),
    "studies": ("status t", ["tiny"]),
    "systems": ("init study a --system curie", ["curie-weiss"]),
    "profiles": ("run a.yaml --profile s", ["slurm"]),
}


@pytest.mark.parametrize(("words", "expected"), COMPLETED.values(), ids=COMPLETED)
def test_a_shell_completes(words, expected, tmp_path):
    write_record(tmp_path / "results/tiny", yaml.safe_load(TINY.read_text(encoding="utf-8")), [])
    assert complete(words, tmp_path) == expected


def test_completion_is_shown_for_a_shell():
    listed = shown(["--help"]).stdout
    assert "--install-completion" in listed
    script = shown([], _MACRODYN_COMPLETE="source_bash").stdout
    assert "complete -o default" in script and "_MACRODYN_COMPLETE=complete_bash" in script


def test_help_is_fast():
    """Help and errors of arguments need no numerical library."""
    code = (
        "import sys; from macrodyn.cli import main\n"
        "assert main(['--help']) == 0 and main(['status', '--lines', '3']) == 2\n"
        "heavy = {'torch', 'numba', 'numpy', 'pandas', 'xarray', 'snakemake'} & set(sys.modules)\n"
        "assert not heavy, heavy"
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


def document(capsys, arguments, status=0):
    """The one JSON document that a command prints; no NaN is in it."""
    assert main([*arguments, "--json"]) == status
    captured = capsys.readouterr()
    found = json.loads(captured.out, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    return found, captured.err


def test_systems_as_json_say_what_the_text_says(capsys):
    assert main(["systems"]) == 0
    text = capsys.readouterr().out
    found, _ = document(capsys, ["systems"])
    systems = {system["name"]: system for system in found["systems"]}
    assert list(systems) == sorted(available_systems())
    for name, system in systems.items():
        assert f"{name}: {system['description']}\n" in text and system["problem"] is None
        assert f"  for method: {', '.join(system['methods'])}\n" in text
        for parameter in system["parameters"]:
            assert f"  {parameter['name']} (" in text and parameter["description"] in text
    temperature, field, *_ = systems["ising"]["parameters"]
    assert (temperature["name"], temperature["required"]) == ("temperature", True)
    assert (field["required"], field["default"]) == (False, 0.0)


def test_status_as_json_says_what_the_text_says(capsys, edited):
    assert main(["status", str(edited)]) == 0
    text = capsys.readouterr().out
    found, _ = document(capsys, ["status", str(edited)])
    assert text.startswith(f"study {found['study']} in {found['folder']}\n")
    states = found["states"]
    assert (
        f"\n{states['done']} of {sum(states.values())} jobs done, {states['waiting']} wait" in text
    )
    assert f"To run it: {found['command']}\n" in text
    assert f"another configuration: {', '.join(found['other_configuration'])}\n" in text
    table = {
        row.split()[0]: row.split()[1:4] for row in text.splitlines() if row[-1:] in ("?", "-")
    }
    assert len(found["rules"]) == len(table) > 5
    for rule in found["rules"]:
        counts = rule["states"]
        numbers = [sum(counts.values()), counts["done"], counts["running"]]
        assert table[rule["rule"]] == list(map(str, numbers))
    assert found["done"] is False and found["seconds_left"] is None and found["jobs"] == []


def test_status_as_json_has_the_jobs_that_failed(capsys, edited):
    config = yaml.safe_load(edited.read_text(encoding="utf-8"))
    job = plan_study(load_study(config)).stages
    stage = next(found for (kind, _), found in job.items() if kind == "simulate")
    log = Path("results/tiny") / stage.folder / "logs" / f"shard-0-of-{stage.shards}.log"
    log.parent.mkdir(parents=True)
    begun = "2026-01-02 03:04:05,678 rule simulate starts with 1 thread(s) on node7\n"
    end = "2026-01-02 03:04:07,678 failed after 2.0 s\n"
    log.write_text(begun + end, encoding="utf-8")
    found, _ = document(capsys, ["status", str(edited)])
    (failed,) = found["jobs"]
    assert (failed["rule"], failed["state"], failed["where"]) == ("simulate", "failed", "node7")
    assert failed["seconds"] == 2.0 and failed["log"] == str(log)
    assert found["states"]["failed"] == 1


def test_summary_as_json_says_what_the_text_says(capsys, tmp_path):
    (tmp_path / "summary.csv").write_text(f"{TABLE}more,nan,8x8,inf,diverged\n", encoding="utf-8")
    assert main(["summary", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    found, _ = document(capsys, ["summary", str(tmp_path)])
    base, more = found["runs"]
    assert base == {
        "run": "base",
        "small": "8x8",
        "large": "64x64",
        "transient:ours": 0.012345,
        "transient:naive": None,
    }
    assert more["transient:ours"] is None and more["transient:naive"] == "diverged"
    assert found["missing"] is None
    assert text.endswith("".join(f"\n{note}\n" for note in found["notes"]))


def test_summary_as_json_names_the_runs_without_results(capsys, edited):
    content = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    content["runs"] |= {"new": {"seed": 78}}
    edited.write_text(yaml.safe_dump(content), encoding="utf-8")
    found, told = document(capsys, ["summary", str(edited)], 1)
    assert "new" not in [row["run"] for row in found["runs"]]
    assert "\n  new: no results yet\n" in found["missing"]
    assert told == f"macrodyn: {found['missing']}\n"


def test_several_runs_are_published_after_one_option(monkeypatch):
    given = []
    monkeypatch.setattr(
        "macrodyn.pipeline.report.publish.publish", lambda *all: given.append(all) or []
    )
    monkeypatch.setattr("macrodyn.pipeline.monitor.status.study_folder", lambda study: study)
    for runs in (["--runs", "a", "b"], ["--runs", "a", "--runs", "b"]):
        assert main(["publish", "s", "t", "--config", "c.yaml", *runs]) == 0
        assert main(["publish", "s", "t", *runs, "--config", "c.yaml"]) == 0
    assert given == [(Path("s"), Path("t"), Path("c.yaml"), ["a", "b"])] * 4
