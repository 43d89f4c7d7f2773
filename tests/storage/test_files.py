"""Atomic files: a failed write leaves what was there, says why, and nothing else remains."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from macrodyn.storage.errors import WriteError
from macrodyn.storage.files import (
    atomic_path,
    error_number,
    probe,
    remove_temporaries,
    write_json,
)
from macrodyn.storage.sealed import read_sealed_json, write_sealed_json


@pytest.fixture
def target(tmp_path) -> Path:
    path = tmp_path / "folder" / "data.json"
    write_json(path, {"version": 1})
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_is_made_with_its_folder(tmp_path):
    write_json(tmp_path / "a" / "b" / "c.json", [1])
    assert json.loads((tmp_path / "a" / "b" / "c.json").read_text(encoding="utf-8")) == [1]
    assert names(tmp_path / "a" / "b") == ["c.json"]


def test_readers_see_the_old_file_until_the_new_one_is_whole(target):
    with atomic_path(target) as temporary:
        temporary.write_text("half of it", encoding="utf-8")
        assert temporary.parent == target.parent and temporary.suffix == ".json"
        assert json.loads(target.read_text(encoding="utf-8")) == {"version": 1}
        temporary.write_text("[]", encoding="utf-8")
    assert target.read_text(encoding="utf-8") == "[]"
    assert names(target.parent) == ["data.json"]


REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "quota",
    errno.EFBIG: "ulimit -f",
    errno.EROFS: "read-only",
    errno.EACCES: "chmod u+w",
    errno.EPERM: "chmod u+w",
    errno.EIO: "reports an error",
    errno.EISDIR: "move that folder away",
}


@pytest.mark.parametrize(
    ("number", "reason"), REASONS.items(), ids=[errno.errorcode[n] for n in REASONS]
)
def test_reason_of_the_system_is_told_in_plain_words(target, number, reason):
    with pytest.raises(WriteError) as caught, atomic_path(target) as temporary:
        temporary.write_text("half of it", encoding="utf-8")
        raise OSError(number, os.strerror(number), str(temporary))
    message = str(caught.value)
    assert message.startswith(f"{target} cannot be written: ") and reason in message
    assert message.endswith(", then run the same command again")
    assert caught.value.errno == number
    assert json.loads(target.read_text(encoding="utf-8")) == {"version": 1}
    assert names(target.parent) == ["data.json"]


def test_number_in_the_text_of_another_library_is_understood(target):
    with pytest.raises(WriteError, match="the disk is full"), atomic_path(target):
        raise RuntimeError("I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize(
    "error", [ValueError("wrong"), FileNotFoundError(2, "none"), SystemExit(3)]
)
def test_other_errors_stay_what_they_are(target, error):
    with pytest.raises(type(error)) as caught, atomic_path(target) as temporary:
        temporary.write_text("half of it", encoding="utf-8")
        raise error
    assert caught.value is error
    assert names(target.parent) == ["data.json"]


def test_block_that_writes_nothing_is_noticed(target):
    with pytest.raises(FileNotFoundError), atomic_path(target):
        pass
    assert json.loads(target.read_text(encoding="utf-8")) == {"version": 1}


def test_folder_in_the_place_of_the_file_is_named(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(WriteError, match=r"a\.json cannot be written: a folder has its name"):
        write_json(tmp_path / "a.json", 1)
    assert names(tmp_path) == ["a.json"]


def test_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "a").write_text("a file", encoding="utf-8")
    for path in (tmp_path / "a" / "c.json", tmp_path / "a" / "b" / "c.json"):
        with pytest.raises(WriteError, match=r"c\.json cannot be written: a part of its path"):
            write_json(path, 1)


def test_link_is_replaced_and_never_written_through(target, tmp_path):
    outside = tmp_path / "outside.json"
    outside.write_text("precious", encoding="utf-8")
    target.unlink()
    target.symlink_to(outside)
    write_json(target, {"version": 2})
    assert outside.read_text(encoding="utf-8") == "precious"
    assert not target.is_symlink()


def test_probe_finds_no_fault_where_there_is_none(tmp_path):
    assert probe(tmp_path / "a") is None
    assert isinstance(probe(tmp_path / "none" / "a"), FileNotFoundError)


KILLED = """
import os, signal, sys
from pathlib import Path
from macrodyn.storage.files import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_is_removed_once_it_is_older_than_the_job(target):
    subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False)
    assert json.loads(target.read_text(encoding="utf-8")) == {"version": 1}
    assert len(names(target.parent)) == 2
    remove_temporaries(target, before=time.time() - 60)
    assert len(names(target.parent)) == 2
    remove_temporaries(target, before=time.time() + 1)
    assert names(target.parent) == ["data.json"]


def test_temporary_files_of_other_files_stay(target):
    kept = [".database.1-0123abcd.json", ".data.1-0123abcd.nc", "data.1-0123abcd.json"]
    for name in kept:
        (target.parent / name).write_text("half", encoding="utf-8")
    remove_temporaries(target, before=time.time() + 1)
    assert names(target.parent) == sorted([*kept, "data.json"])


def test_two_writers_at_once_leave_one_whole_file(tmp_path):
    path = tmp_path / "data.json"
    content = [{"writer": writer, "numbers": [writer] * 2000} for writer in range(3)]
    write_sealed_json(path, content[0])

    def write(writer: int) -> None:
        for _ in range(40):
            write_sealed_json(path, content[writer])

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(3)]
    for writer in writers:
        writer.start()
    reads = 0
    while any(writer.is_alive() for writer in writers) or not reads:
        assert read_sealed_json(path) in content
        reads += 1
    assert names(tmp_path) == ["data.json"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("I/O error: No space left on device (os error 28)", 28),
        # Safetensors before 0.6.
        ('Error while serializing: IoError(Os { code: 2, kind: NotFound, message: "No such" })', 2),
        ("InvalidHeader", None),
    ],
)
def test_numbers_of_errors_are_read_from_what_libraries_write(text, number):
    assert error_number(RuntimeError(text)) == number
