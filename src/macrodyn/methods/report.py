"""How the results of a method's runs are told: in a table, on the front page, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from macrodyn.evaluation.verdict import Verdict
from macrodyn.systems.registry import UnknownSystemError, parameters_class

Metrics = Mapping[str, Any]
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the front page.

    Attributes:
        title: What it shows.
        headings: The columns of summary.csv that it shows, with what stands above them.
        rows: Its rows.
    """

    title: str
    headings: Mapping[str, str]
    rows: Sequence[Mapping[str, Any]]


class Report:
    """How the results of a method's runs are told; a method's own overrides what it tells better.

    Attributes:
        lead: A line below the study's title.
        how: What the method does, in a few sentences.
        note: File of a note below the tables, as for captions; '' for none.
        columns: What the columns of a table to keep hold, in a sentence; '' for none.
    """

    lead: str = "Macroscopic dynamics, learned from microscopic simulation"
    how: str = ""
    note: str = ""
    columns: str = ""

    def row(self, metrics: Metrics) -> Row:
        """Return a run's row of summary.csv: its numbers, and what it has cost.

        Args:
            metrics: Content of the run's metrics.json.
        """
        numbers = {
            name: value
            for name, value in metrics.items()
            if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        }
        return {"run": metrics["run"], **numbers, **costs(metrics)}

    def facts(self, runs: Sequence[Metrics]) -> dict[str, list[str]]:
        """Return what the runs were made with: for each fact, what it is in each run."""
        systems = [run["config"]["system"] for run in runs]
        return {
            "System": [str(system["name"]) for system in systems],
            "Parameters": [written(parameters(system)) for system in systems],
        }

    def made(self, runs: Sequence[Metrics]) -> str:
        """Return what the method does, in a few sentences; `how`, whatever the runs."""
        return self.how

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """Return the tables of the front page."""
        columns = list(dict.fromkeys(column for row in rows for column in row))
        headings = {column: column.replace("_", " ") for column in columns}
        return [Table(title="Results", headings=headings, rows=rows)]

    def verdict(self, metrics: Metrics) -> Verdict | None:
        """Judge a run by its metrics; None where nothing is said."""
        return None

    def main_figures(self, runs: Sequence[Metrics]) -> list[tuple[str, str]]:
        """Return the figures of the front page: titles of pages, and the run; '' across runs."""
        return []

    def published(self, rows: Sequence[Row], runs: Mapping[str, Metrics]) -> list[list[str]]:
        """Return a table of results to keep: its head, then a line for each row.

        Args:
            rows: Rows of summary.csv.
            runs: Metrics of the runs by name.

        Raises:
            StoreError: If the table lacks something; the message says what, as "has no column a".
        """
        columns = list(dict.fromkeys(column for row in rows for column in row))
        return [columns, *([number(row.get(column)) for column in columns] for row in rows)]


def costs(metrics: Metrics) -> Row:
    """Return what each way of getting at a run's result has cost in all, as columns."""
    return {
        f"{kind}_{way}": sum(stage[kind] for stage in stages.values())
        for way, stages in metrics["costs"].items()
        for kind in ("site_updates", "core_seconds")
    }


def parameters(system: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a system, in the order in which its model has them."""
    given = dict(system["parameters"])
    try:
        order = list(parameters_class(str(system["name"])).model_fields)
    except UnknownSystemError:
        order = []
    return {name: given[name] for name in (*order, *given) if name in given}


def written(values: Mapping[str, Any]) -> str:
    """Write parameters on a line."""
    return ", ".join(f"{name} = {value}" for name, value in values.items()) or "none given"


def number(value: Any) -> str:
    """Write a value of a table to keep."""
    if isinstance(value, float):
        return f"{value:.1e}"
    return "-" if value is None else str(value)
