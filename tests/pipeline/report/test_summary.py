"""The summary is read back, or refused."""

from __future__ import annotations

import pytest

from macrodyn.pipeline.report.summary import read_summary
from macrodyn.storage.errors import StoreError


def test_summary_is_read_back(tmp_path):
    table = tmp_path / "summary.csv"
    text = "run,short:ours,short:naive,short:full\nbase,0.25,,diverged\n"
    table.write_text(text, encoding="utf-8")
    assert read_summary(table) == [
        {"run": "base", "short:ours": 0.25, "short:naive": None, "short:full": "diverged"}
    ]


def test_names_that_look_like_numbers_stay_names(tmp_path):
    table = tmp_path / "summary.csv"
    table.write_text("run,small,short:ours\n8,16,0.25\n", encoding="utf-8")
    assert read_summary(table) == [{"run": "8", "small": "16", "short:ours": 0.25}]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "run,short:ours\n",
        "run,short:ours\nbase,0.2",
        "run,short:ours\nbase\n",
        "run,short:ours\nbase,0.2,3\n",
        "name,short:ours\nbase,0.2\n",
        'run,short:ours\n"base,0.2\n',
        "\0\n",
    ],
    ids=repr,
)
def test_summary_that_was_cut_short_is_refused(tmp_path, text):
    table = tmp_path / "summary.csv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(StoreError, match=rf"summary\.csv cannot be read .*rm {table}, then"):
        read_summary(table)
