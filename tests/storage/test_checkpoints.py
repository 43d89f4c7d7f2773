"""Checkpoints: whole or not used, the previous one kept, never of another computation."""

from __future__ import annotations

import logging
import os
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
import torch

from macrodyn.storage import checkpoints as module
from macrodyn.storage.checkpoints import (
    Checkpoints,
    Interrupted,
    fingerprint,
    read_checkpoint,
    write_checkpoint,
)
from macrodyn.storage.errors import StoreError
from macrodyn.storage.sealed import seal

ARRAYS = {
    "spins": np.array([[1, -1], [-1, -1]], dtype=np.int8),
    "keys": np.array([2**64 - 1, 0], dtype=np.uint64),
    "field": np.linspace(0, 1, 7),
    "nothing": np.empty((0, 3)),
    "scalar": np.float32(2.5),
    "weights": torch.arange(6, dtype=torch.float32).reshape(2, 3).T,
    "flags": torch.tensor([True, False]),
}


def test_arrays_and_state_come_back_as_they_were(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c")
    assert checkpoints.open("abc") is None
    state = {"history": [0.1, 0.2], "cost": 2**80, "best": None}
    checkpoints.save(ARRAYS, state, step=12)
    found = Checkpoints(tmp_path / "c").open("abc")
    assert found is not None
    arrays, kept, step = found
    assert (kept, step) == (state, 12)
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        expected = np.asarray(array)
        assert arrays[name].dtype == expected.dtype
        np.testing.assert_array_equal(arrays[name], expected)


def test_the_previous_one_is_kept_and_the_latest_is_used(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.open("abc")
    for step in (5, 10, 15):
        checkpoints.save({"x": np.full(3, step)}, {}, step=step)
    steps = sorted(read_checkpoint(path)[1]["step"] for path in tmp_path.iterdir())
    assert steps == [10, 15]
    again = Checkpoints(tmp_path)
    arrays, _, step = again.open("abc")
    assert step == 15 and (arrays["x"] == 15).all()
    # What is written next replaces the older one.
    again.save({"x": np.full(3, 20)}, {}, step=20)
    assert sorted(read_checkpoint(path)[1]["step"] for path in tmp_path.iterdir()) == [15, 20]


def test_a_damaged_one_is_named_and_the_previous_one_is_used(tmp_path: Path, caplog) -> None:
    """Every byte in turn: cut there, and flipped there."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.open("abc")
    for step in (5, 10):
        checkpoints.save({"x": np.arange(4) + step}, {"a": 1}, step=step)
    newest = max(tmp_path.iterdir(), key=lambda path: read_checkpoint(path)[1]["step"])
    whole = newest.read_bytes()
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        for content in (whole[:position], bytes(flipped)):
            newest.write_bytes(content)
            caplog.clear()
            arrays, _, step = Checkpoints(tmp_path).open("abc")
            assert step == 5 and (arrays["x"] == np.arange(4) + 5).all()
            (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
            assert str(newest) in record.getMessage()
    assert 300 < len(whole) < 3000


def test_nothing_is_used_when_all_are_damaged(tmp_path: Path, caplog) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.open("abc")
    for step in (5, 10):
        checkpoints.save({"x": np.arange(4)}, {}, step=step)
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    assert Checkpoints(tmp_path).open("abc") is None
    assert caplog.text.count("Checkpoint not used") == 2


def test_one_of_another_computation_is_not_used(tmp_path: Path, caplog) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.open("abc")
    checkpoints.save({"x": np.arange(4)}, {}, step=5)
    assert Checkpoints(tmp_path).open("xyz") is None
    assert "other data or settings" in caplog.text


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "0.checkpoint"
    write_checkpoint(path, {"x": np.arange(3)}, {"format": "macrodyn-checkpoint-0"})
    with pytest.raises(StoreError, match="has the format"):
        read_checkpoint(path)
    for payload in (b"", b"x" * 8, (2**62).to_bytes(8, "little") + b"{}", b"\x80\x04K\x01."):
        path.write_bytes(payload)
        seal(path)
        with pytest.raises(StoreError, match="is no checkpoint"):
            read_checkpoint(path)


def test_an_interval_passes_between_two_and_little_time_goes_into_them(
    tmp_path: Path, monkeypatch
) -> None:
    """A clock of the test's own: a step takes 1 s, a checkpoint 2 s, that is 5 % of 40 s."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    written = []

    def slow(path, arrays, header):
        now[0] += 2.0
        written.append(header["step"])

    monkeypatch.setattr(module, "write_checkpoint", slow)
    checkpoints = Checkpoints(tmp_path, every=10.0)
    checkpoints.open("abc")
    for step in range(1, 101):
        now[0] += 1.0
        checkpoints.after(step, 100, lambda: ({}, {}))
    assert written == [10, 50, 90]


def test_a_stop_writes_one_and_says_where(tmp_path: Path) -> None:
    asked = iter([False, False, True])
    checkpoints = Checkpoints(tmp_path, stop=lambda: next(asked))
    checkpoints.open("abc")
    with pytest.raises(Interrupted, match="checkpoint written at step 3 of 9"):
        for step in range(1, 10):
            checkpoints.after(step, 9, lambda s=step: ({"x": np.array([s])}, {}))
    arrays, _, step = Checkpoints(tmp_path).open("abc")
    assert step == 3 and arrays["x"] == [3]


def test_a_computation_goes_on_where_none_can_be_written(tmp_path: Path, caplog) -> None:
    """A file stands where the folder should: whoever is root may write anywhere else."""
    (tmp_path / "c").write_text("in the way", encoding="utf-8")
    now = []
    checkpoints = Checkpoints(tmp_path / "c", every=0.0, stop=lambda: len(now) == 3)
    checkpoints.open("abc")
    with pytest.raises(Interrupted, match=r"no checkpoint at step 3 of 9: .*c/0.checkpoint"):
        for step in range(1, 10):
            now.append(step)
            checkpoints.after(step, 9, lambda: ({"x": np.arange(3)}, {}))
    assert caplog.text.count("No checkpoint at step") == 3
    assert (tmp_path / "c").read_text(encoding="utf-8") == "in the way"


@pytest.mark.parametrize("at", ["save_file", "seal"])
def test_a_computation_goes_on_where_its_folder_vanishes(
    tmp_path: Path, caplog, monkeypatch, at: str
) -> None:
    """Another process that ends the same computation removes the folder of both."""
    usual = getattr(module, at)

    def vanishing(*arguments):
        shutil.rmtree(tmp_path / "c")
        monkeypatch.setattr(module, at, usual)
        return usual(*arguments)

    monkeypatch.setattr(module, at, vanishing)
    checkpoints = Checkpoints(tmp_path / "c", every=0.0)
    checkpoints.open("abc")
    checkpoints.after(1, 9, lambda: ({"x": np.arange(3)}, {}))
    assert "No checkpoint at step 1 of 9" in caplog.text
    checkpoints._pause = 0.0
    checkpoints.after(2, 9, lambda: ({"x": np.arange(3)}, {}))
    assert Checkpoints(tmp_path / "c").open("abc")[2] == 2


def test_time_before_an_interruption_counts(tmp_path: Path, monkeypatch) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    first = Checkpoints(tmp_path)
    first.open("abc")
    now[0] += 30
    first.save({}, {}, step=1)
    second = Checkpoints(tmp_path)
    second.open("abc")
    assert second.spent == 30
    now[0] += 12
    second.save({}, {}, step=2)
    third = Checkpoints(tmp_path)
    third.open("abc")
    assert third.spent == 42


def test_removing_leaves_no_folder_but_those_of_others(tmp_path: Path) -> None:
    one, other = (Checkpoints(tmp_path / "checkpoint" / name) for name in ("a", "b"))
    for checkpoints in (one, other):
        checkpoints.open("abc")
        checkpoints.save({"x": np.arange(3)}, {}, step=1)
    (tmp_path / "checkpoint" / "a" / ".0.killed-while-writing.checkpoint").write_bytes(b"x")
    one.remove()
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == ["b"]
    other.remove()
    assert list(tmp_path.iterdir()) == []
    other.remove()


def test_the_fingerprint_sees_values_shapes_types_and_settings() -> None:
    x = np.arange(6.0)
    different = [
        fingerprint({"a": 1}, x),
        fingerprint({"a": 2}, x),
        fingerprint({"a": 1}, x.reshape(2, 3)),
        fingerprint({"a": 1}, x.astype(np.float32)),
        fingerprint({"a": 1}, x + 1e-16 + np.eye(1, 6)[0] * 1e-12),
        fingerprint({"a": 1}, x, x),
    ]
    assert len(set(different)) == len(different)
    assert fingerprint({"a": 1}, torch.from_numpy(x)) == different[0]


def test_checkpoints_have_the_permissions_of_other_files(tmp_path: Path) -> None:
    """A colleague who may read the results may go on with the computation."""
    before = os.umask(0o027)
    try:
        write_checkpoint(str(tmp_path / "a.checkpoint"), {"x": np.ones(2)}, {})
        (tmp_path / "plain").touch()
    finally:
        os.umask(before)
    modes = {path.name: stat.filemode(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"a.checkpoint": "-rw-r-----", "plain": "-rw-r-----"}
