"""A finished stage keeps its cut; what does not say its cut is cut as asked."""

from __future__ import annotations

import pytest

from macrodyn.pipeline.cuts import kept_cut

BEGAN = "2026-03-01 12:00:00,000 rule gather starts with 1 thread(s)\n"
SAID = "2026-03-01 12:00:01,000 gathering {} shard(s)\n"
DONE = "2026-03-01 12:00:02,000 done in 2.0 s\n"
CASES = {
    "finished": (True, BEGAN + SAID.format(12) + DONE, 12),
    "one shard": (True, BEGAN + SAID.format(1) + DONE, 1),
    "unfinished": (False, BEGAN + SAID.format(2), None),
    "deleted": (False, BEGAN + SAID.format(2) + DONE, None),
    "without a log": (True, None, None),
    "a log that does not say": (True, BEGAN + DONE, None),
    "an empty log": (True, "", None),
}


@pytest.mark.parametrize(("made", "log", "shards"), CASES.values(), ids=CASES)
def test_cut_of_a_stage(tmp_path, made, log, shards):
    if made:
        (tmp_path / "data.nc").touch()
    if log is not None:
        (tmp_path / "logs").mkdir()
        (tmp_path / "logs/gather.log").write_text(log, encoding="utf-8")
    assert kept_cut(str(tmp_path)) == shards


def test_a_stage_that_was_never_begun_has_none(tmp_path):
    assert kept_cut(tmp_path / "missing") is None
