"""How predictions of a system that was not simulated are told: columns and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from macrodyn.methods.report import Metrics, Row, Table

_OTHERS = ("naive", "full", "polynomial")
_MARK = ":disagreement"


def predicted_columns(metrics: Metrics) -> Row:
    """Return what summary.csv says of the cases of a run that have no reference."""
    row: Row = {}
    for case, schemes in (metrics.get("predicted") or {}).items():
        agreement = schemes["ours"]["agreement"] or {}
        row[f"{case}{_MARK}"] = agreement.get("mean")
        row[f"{case}:disagreement_chance"] = agreement.get("chance")
        for scheme in _OTHERS:
            if scheme in schemes:
                row |= _differences(schemes[scheme], f"{case}:{scheme}")
        row[f"{case}:outside"] = schemes["ours"]["range"]["outside"]
        row[f"{case}:ours_left"] = len(schemes["ours"]["members"]["outliers"])
    return row


def predicted_tables(rows: Sequence[Row], head: Mapping[str, str]) -> list[Table]:
    """Return a table for each case that has no reference.

    Args:
        rows: Rows of summary.csv.
        head: Columns that say which run it is.
    """
    columns = dict.fromkeys(column for row in rows for column in row)
    tables = []
    for case in (c.removesuffix(_MARK) for c in columns if c.endswith(_MARK)):
        headings = {
            **head,
            f"{case}{_MARK}": "members, squared difference",
            f"{case}:disagreement_chance": "equal members, by chance",
            f"{case}:ours_left": "members that left",
            **{f"{case}:{s}_difference": f"{s}, squared difference from ours" for s in _OTHERS},
            f"{case}:naive_difference_spread": "naive, the same of the spread",
            f"{case}:outside": "share outside training data",
        }
        having = [row for row in rows if f"{case}{_MARK}" in row]
        title = f"Prediction without a reference: {case}"
        tables.append(Table(title=title, headings=headings, rows=having))
    return tables


def _differences(merits: Mapping[str, Any], head: str) -> Row:
    difference = merits["difference"] or {}
    return {
        f"{head}_difference": difference.get("mean"),
        f"{head}_difference_spread": difference.get("spread"),
    }
