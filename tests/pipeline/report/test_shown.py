"""The summary in the terminal: as wide as the terminal, whatever the number of columns."""

from __future__ import annotations

import pytest

from macrodyn.pipeline.report.shown import table_text

NAMES = [f"horizon_{n}_ours_std" for n in range(9)]


def row(run: str) -> dict[str, object]:
    return {"run": run, "small": "8x8", **{name: 0.0123 for name in NAMES}}


def test_a_narrow_table_has_a_line_for_each_run():
    lines = table_text([{"run": "a_b", "ours": 1.0}, {"run": "c", "ours": None}]).splitlines()
    assert [line.split() for line in lines] == [
        ["run", "ours"],
        ["---", "----"],
        ["a_b", "1"],
        ["c", "-"],
    ]


@pytest.mark.parametrize("runs", [1, 3, 12])
def test_a_wide_table_has_a_column_for_each_run_and_fits(runs):
    names = [f"small_{n}_sites" for n in range(runs)]
    text = table_text([row(name) for name in names])
    assert max(map(len, text.splitlines())) <= 80
    blocks = text.split("\n\n")
    shown = [name for block in blocks for name in block.splitlines()[0].split()[1:]]
    assert shown == names
    for block in blocks:
        lines = block.splitlines()
        assert [line.split("  ")[0] for line in lines[2:]] == [
            "small",
            *(name.replace("_", " ") for name in NAMES),
        ]
        assert lines[-1].split()[4:] == ["0.0123"] * (len(lines[0].split()) - 1)
