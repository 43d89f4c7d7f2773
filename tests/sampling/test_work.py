"""Loops in blocks: every item once, in any cut, over any number of interruptions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from macrodyn.sampling import work as module
from macrodyn.sampling.work import Work
from macrodyn.storage.checkpoints import Checkpoints, Interrupted

# Of NumPy's integers, as sizes of arrays often are: JSON does not know them.
SIZES = list(np.array([7, 0, 1, 12]))


def count_items(work, arrays=None):
    """Mark each item, and return the marks by segment."""
    arrays = {"seen": np.zeros((len(SIZES), 12), int)} if arrays is None else arrays
    for segment, block in work.blocks(SIZES, arrays):
        arrays["seen"][segment, block] += 1
        work.cost.add(block.stop - block.start, 0.5)
    return arrays["seen"]


EXPECTED = np.array([[i < size for i in range(12)] for size in SIZES]).astype(int)


@pytest.mark.parametrize("seconds", [0.0, 1e-5, 10.0])
def test_every_item_is_gone_through_once(seconds):
    done = []
    work = Work(progress=lambda now, total: done.append((now, total)), seconds=seconds)
    np.testing.assert_array_equal(count_items(work), EXPECTED)
    assert done[-1] == (20, 20) and work.cost.site_updates == 10.0
    assert [now for now, _ in done] == sorted({now for now, _ in done})


@pytest.mark.parametrize("stops", [(1,), (3, 2), (8, 1, 4), (20,)], ids=str)
def test_an_interrupted_loop_goes_on_where_it_was(tmp_path, stops):
    for blocks in stops:
        calls = itertools.count(1)
        stop = Checkpoints(tmp_path, stop=lambda c=calls, n=blocks: next(c) >= n)
        with pytest.raises(Interrupted):
            count_items(Work(checkpoints=stop, fingerprint="f", seconds=0.0))
    done = []
    work = Work(lambda now, _: done.append(now), Checkpoints(tmp_path), "f", seconds=0.0)
    np.testing.assert_array_equal(count_items(work), EXPECTED)
    assert done == list(range(sum(stops) + 1, 21))
    assert work.cost.site_updates == 10.0


def test_a_loop_whose_arrays_are_made_on_the_way_goes_on(tmp_path):
    def run(checkpoints):
        arrays = {}
        for _, block in Work(checkpoints=checkpoints, seconds=0.0).blocks([6], arrays):
            arrays.setdefault("x", np.zeros(6))[block] = block.start + 1
        return arrays["x"]

    asked = iter([False, False, True])
    with pytest.raises(Interrupted):
        run(Checkpoints(tmp_path, stop=lambda: next(asked)))
    np.testing.assert_array_equal(run(Checkpoints(tmp_path)), np.arange(6) + 1)


def test_blocks_grow_to_the_time_they_shall_take_and_no_further(monkeypatch):
    """A clock of the test's own: 0.1 s an item, after 3 s for whatever the first one waits for."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    lengths = []
    for _, block in Work(seconds=2.0).blocks([500], {}):
        lengths.append(block.stop - block.start)
        now[0] += 0.1 * lengths[-1] + (3.0 if block.start == 0 else 0.0)
    assert lengths[:4] == [1, 1, 4, 16]
    assert set(lengths[4:-1]) <= {19, 20}
    limited = [b.stop - b.start for _, b in Work(seconds=2.0).blocks([500], {}, most=7)]
    assert max(limited) == 7
