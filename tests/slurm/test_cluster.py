"""Where no SLURM can be started, or must not be, the reason is given."""

from __future__ import annotations

import os

import pytest

from . import cluster


@pytest.fixture(autouse=True)
def possible(monkeypatch, tmp_path):
    """A machine on which nothing is in the way."""
    programs, etc = tmp_path / "bin", tmp_path / "etc"
    programs.mkdir()
    etc.mkdir()
    for name in cluster._PROGRAMS:
        (programs / name).touch(mode=0o755)
    monkeypatch.setattr(cluster, "_PATH", str(programs))
    monkeypatch.setattr(cluster, "ETC", etc)
    monkeypatch.setattr(cluster, "_make_device", lambda path: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def test_nothing_lacks_where_all_is_there():
    assert cluster.lacking() is None


def test_missing_programs_are_named(tmp_path):
    (tmp_path / "bin" / "slurmd").unlink()
    assert "not installed (no slurmd)" in cluster.lacking()


def test_a_slurm_that_is_set_up_is_left_alone():
    (cluster.ETC / "slurm.conf").touch()
    assert "left alone" in cluster.lacking()


def test_a_link_that_an_earlier_cluster_left_is_no_hindrance():
    (cluster.ETC / "slurm.conf").symlink_to(cluster.RUN / "slurm.conf")
    assert cluster.lacking() is None


def test_only_root_can_start_it(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "only root" in cluster.lacking()
