"""What a run leaves in the study's folder: its configuration, and the command that goes on."""

from __future__ import annotations

import pytest

from macrodyn.pipeline.record import RecordError, go_on_command, read_record, write_record


def test_a_record_is_read_as_it_was_written(tmp_path):
    config = {"study": "s", "runs": {"a": None}, "title": "µ(z)"}
    write_record(tmp_path / "s", config, ["--cores", "2", "--configfile", "my study.yaml"])
    record = read_record(tmp_path / "s")
    assert record.config == config
    assert record.command == "snakemake --cores 2 --configfile 'my study.yaml'"
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["study.json"]


COMMANDS = {
    "a profile": (["--profile", "slurm"], "--profile slurm"),
    "forced once": (["-F", "--cores", "2"], "--cores 2"),
    "rules made again": (["--cores", "2", "-R", "evolve", "encode", "-k"], "--cores 2 -k"),
    "rules made again, last": (["--cores", "2", "--forcerun", "evolve"], "--cores 2"),
    "one rule made again": (["--forcerun=evolve", "--cores", "2"], "--cores 2"),
    "a forced target": (["-f", "results/a.nc", "--cores", "2"], "results/a.nc --cores 2"),
    "touched": (["--touch", "--cores=2"], "--cores=2"),
}


@pytest.mark.parametrize(("arguments", "kept"), COMMANDS.values(), ids=COMMANDS)
def test_going_on_makes_nothing_again(arguments, kept):
    assert go_on_command(arguments) == f"snakemake {kept}"


WRONG = {
    "missing": (None, "is missing: it is written when the study is run"),
    "cut off": ('{"command": "snake', "cannot be read"),
    "not of this kind": ("[1, 2]", "cannot be read"),
    "without a configuration": ('{"command": "snakemake"}', "cannot be read"),
    "another encoding": ("\ud800", "cannot be read"),
    "an empty configuration": ('{"command": "snakemake", "config": {}}', "the next run writes it"),
    "nested too deeply": ("[" * 100_000, "cannot be read"),
}


@pytest.mark.parametrize(("text", "reason"), WRONG.values(), ids=WRONG)
def test_an_unreadable_record_is_named_with_what_to_do(tmp_path, text, reason):
    path = tmp_path / "study.json"
    if text is not None:
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(RecordError, match=r"macrodyn status CONFIG\.yaml") as refusal:
        read_record(tmp_path)
    assert str(path) in str(refusal.value) and reason in str(refusal.value)


def test_a_folder_in_place_of_the_record_is_to_be_moved(tmp_path):
    (tmp_path / "study.json").mkdir()
    with pytest.raises(RecordError, match=r"study\.json is a folder: move it away, and the next"):
        read_record(tmp_path)
