"""Each key of a configuration reaches the function that uses it: the table of `table.py`."""

from __future__ import annotations

import pytest

from macrodyn.methods.partial_evolution.stages import KINDS

from .bench import BASE, Bench, changed, merge, plain, value_at
from .keys import choices, leaves
from .table import DIFFERS, ROWS, Row

LEAVES = dict(leaves())


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_value_arrives(bench: Bench, row: Row) -> None:
    also = dict(row.also)
    before, after = (
        bench.observe(row.work, changes, row.targets, row.fakes, stop=row.stops)
        for changes in (also, merge(also, changed(row.key, row.value, merge(BASE, also))))
    )
    found = [row.seen(seen) for seen in (before, after)]
    was, then = row.expected
    if was is DIFFERS:
        one, other = (plain(value if isinstance(value, tuple) else (value,)) for value in found)
        assert all(a != b for a, b in zip(one, other, strict=True)), f"{one} and {other}"
    else:
        assert plain(found) == plain([was, then])


@pytest.mark.parametrize("key", LEAVES)
def test_key_has_a_row(key: str) -> None:
    """A key that the configuration has and nothing uses is a promise that is not kept."""
    rows = [row for row in ROWS if row.key == key]
    assert rows, (
        f"no test shows that anything uses the key {key}: give it a value in BASE "
        "(tests/wiring/bench.py) and a Row in tests/wiring/table.py, with another value, the stage "
        "that uses it, and the function and argument in which that value arrives"
    )
    tried = [value_at(BASE, key), *(row.value for row in rows)]
    words = [word for value in tried for word in (value if isinstance(value, list) else [value])]
    untried = [word for word in choices(LEAVES[key]) if word not in words]
    assert not untried, f"{key} may be {untried} too: add a Row in tests/wiring/table.py"


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_row_changes_a_key_that_exists(row: Row) -> None:
    assert row.key in LEAVES, f"the configuration has no key {row.key}: remove its rows"
    base = merge(BASE, dict(row.also))
    assert value_at(base, row.key) != row.value, "the row changes nothing"


def test_every_stage_that_draws_has_a_row_for_its_seed() -> None:
    """All stages but the encoding draw random numbers."""
    drawing = {*(kind.name for kind in KINDS), "evaluate"} - {"encode"}
    assert {row.work.partition(":")[0] for row in ROWS if row.key == "seed"} == drawing
