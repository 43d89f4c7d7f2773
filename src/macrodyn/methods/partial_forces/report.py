"""How the results of runs of partial forces are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from macrodyn.evaluation.verdict import ORDER, Advice, Finding, Verdict, advice_of
from macrodyn.evaluation.verdict_parts import Level, plain
from macrodyn.methods.report import Metrics, Report, Row, Table, costs, number

UNRESOLVED_GOOD, UNRESOLVED_FAIR = 1e-2, 1e-1
"""Share of the forces that the encoder leaves out: the noise of what is learned from few forces."""
CONDITION_GOOD, CONDITION_FAIR = 20.0, 200.0
"""Condition number of the encoder's Jacobian, observables included, median over configurations."""
_WITHOUT = ("interpolation", "nearest", "regression", "constant", "observables")


class PartialForcesReport(Report):
    """Errors of held-out trajectories, beside what can be had without any force."""

    lead = "Macroscopic dynamics, learned from forces on a part of the coordinates"
    how = (
        "Trajectories of the microscopic system were simulated, and closure variables were found "
        "that complete its observables. At each configuration the forces on a few coordinates were "
        "computed. From these alone came the macroscopic drift. Its trajectories are compared with "
        "simulated ones that nothing was learned from. Configurations are taken to be free here, "
        "forces not: what needs no force at all stands beside each error."
    )
    note = "force_summary.rst"
    columns = (
        "Relative errors of held-out trajectories, mean over the members of the ensemble, beside "
        "what needs no forces at all; u is the share of the forces that the encoder leaves "
        "unresolved, condition the condition number of its Jacobian."
    )

    def row(self, metrics: Metrics) -> Row:
        """Return a run's row of summary.csv."""
        config = metrics["config"]
        row: Row = {
            "run": metrics["run"],
            "size": "x".join(map(str, config["size"])),
            "model": config["dynamics"]["model"],
            "loss": config["dynamics"]["loss"],
            "forces_each": metrics["forces"]["each"],
            "configurations": metrics["forces"]["configurations"],
            "evaluations": metrics["forces"]["evaluations"],
            "error": metrics["error"]["mean"],
            "error_std": metrics["error"]["std"],
            "error_worst": metrics["error"]["worst"],
            "error_to_last_member": (metrics.get("error_to_last_member") or {}).get("mean"),
        }
        row |= {name: metrics["without_forces"].get(name) for name in _WITHOUT}
        row["unresolved"] = metrics["unresolved"]["median"]
        row["condition_number"] = metrics["condition_number"]["median"]
        return row | costs(metrics)

    def facts(self, runs: Sequence[Metrics]) -> dict[str, list[str]]:
        """Return system, size, encoder and what is held out, of each run."""
        configs = [run["config"] for run in runs]
        return super().facts(runs) | {
            "Size": [" × ".join(map(str, c["size"])) for c in configs],
            "Closure": [
                f"{c['closure']['dimension']} variables, {c['closure']['encoder']}" for c in configs
            ],
            "Learned from": [
                f"{m['forces']['configurations']:,} configurations, forces on "
                f"{m['forces']['each']:,} of each"
                for m in runs
            ],
            "Held out": [f"{c['evaluate']['runs']} trajectories" for c in configs],
        }

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """Return errors, what needs no forces, the encoders, and costs."""
        head = {"run": "run", "size": "size", "model": "model", "loss": "loss"}
        errors = head | {
            "forces_each": "forces a configuration",
            "evaluations": "force evaluations",
            "error": "test error",
            "error_std": "± over members",
            "error_worst": "worst member",
            "error_to_last_member": "members against the last one",
        }
        without = {"run": "run", "error": "test error"} | {
            "interpolation": "interpolation by initial macrostate",
            "nearest": "nearest run",
            "regression": "regression on the first observables",
            "observables": "equation of the observables alone",
            "constant": "constant",
        }
        quality = {"run": "run", "unresolved": "unresolved fraction u"} | {
            "condition_number": "condition number"
        }
        spent = {"run": "run"} | {
            "core_seconds_ours": "core seconds, ours",
            "core_seconds_direct": "core seconds, direct simulation",
        }
        return [
            Table(title="Held-out trajectories", headings=errors, rows=rows),
            Table(title="What needs no forces", headings=without, rows=rows),
            Table(title="Encoders", headings=quality, rows=rows),
            Table(title="Costs", headings=spent, rows=rows),
        ]

    def verdict(self, metrics: Metrics) -> Verdict:
        """Judge a run by its metrics."""
        findings = [_error(metrics), _members(metrics), _unresolved(metrics), _condition(metrics)]
        worst = max((f.level for f in findings), key=lambda level: ORDER[level])
        ordered = sorted(findings, key=lambda finding: -ORDER[finding.level])
        return Verdict(worst, findings[0].text, tuple(findings), advice_of(ordered))

    def main_figures(self, runs: Sequence[Metrics]) -> list[tuple[str, str]]:
        """Return the comparison of runs, where there are several, and held-out trajectories."""
        across = [("Structures and losses", "")] if len(runs) > 1 else []
        return [*across, ("Held-out trajectories", runs[0]["run"])]

    def published(self, rows: Sequence[Row], runs: Mapping[str, Metrics]) -> list[list[str]]:
        """Return errors beside published ones and beside what needs no forces."""
        head = ["run", "size", "model", "loss", "force evaluations", "error ± sd", "published"]
        head += [*_SHOWN.values(), "u", "condition"]
        return [head, *(_cells(row, runs[row["run"]]) for row in rows)]


# What needs no forces, by its name, as the columns of `published` are called.
_SHOWN = {
    "interpolation": "interpolation",
    "nearest": "nearest run",
    "regression": "regression",
    "observables": "observables alone",
    "constant": "constant",
}


def _cells(row: Row, metrics: Metrics) -> list[str]:
    published = metrics["config"].get("published") or {}
    return [
        str(row["run"]),
        "x".join(map(str, metrics["config"]["size"])),
        str(row["model"]),
        str(row["loss"]),
        f"{float(row['evaluations']):.3g}",
        f"{number(row['error'])} ± {number(row['error_std'])}",
        "; ".join(f"{number(v)} ({k})" for k, v in published.items()) or "-",
        *(number(row.get(name)) for name in _SHOWN),
        number(row["unresolved"]),
        number(row["condition_number"]),
    ]


def _error(metrics: Metrics) -> Finding:
    """The error, beside the best of what needs no forces."""
    error = plain(metrics["error"]["mean"])
    rest = {k: plain(v) for k, v in metrics["without_forces"].items()}
    known: dict[str, float] = {k: v for k, v in rest.items() if v is not None}
    if error is None:
        return Finding("error", "unknown", "The error of held-out trajectories is unknown.")
    text = f"Held-out trajectories are predicted with a relative error of {error:.2g}"
    if not known:
        return Finding("error", "unknown", f"{text}; there is nothing to compare it with.")
    best, least = min(known.items(), key=lambda item: item[1])
    words = {
        "observables": "an equation of the observables alone",
        "nearest": "the nearest run",
        "regression": "a regression on the first observables",
    }
    beside = f"{words.get(best, best)}, which needs no forces, has {least:.2g}"
    if error < least:
        return Finding("error", "good", f"{text}; {beside}.")
    level: Level = "fair" if error < known.get("constant", least) / 10 else "poor"
    advice: tuple[Any, ...] = (
        Advice("forces.configurations", "more of them, with fewer forces each"),
        Advice("dynamics.steps", "more, as long as the validation loss falls"),
    )
    return Finding("error", level, f"{text}; {beside}: the forces have not paid.", advice)


def _members(metrics: Metrics) -> Finding:
    """Whether a member stands out."""
    worst, median = plain(metrics["error"]["worst"]), plain(metrics["error"]["median"])
    if worst is None or median is None:
        return Finding("members", "unknown", "The members' errors are unknown.")
    text = f"The worst member has {worst:.2g}, the median member {median:.2g}"
    level = _level(worst, 3 * median, 10 * median)
    return _finding("members", level, text, Advice("dynamics.steps", "more: members differ"))


def _unresolved(metrics: Metrics) -> Finding:
    """The share of the forces that no drift of z explains."""
    value = plain(metrics["unresolved"]["median"])
    if value is None:
        return Finding("unresolved fraction", "unknown", "The unresolved fraction is unknown.")
    text = f"The encoder leaves a share of u = {value:.2g} of the rates of change unresolved"
    why = "more closure variables resolve more of them; a network needs weight decay"
    level = _level(value, UNRESOLVED_GOOD, UNRESOLVED_FAIR)
    return _finding("unresolved fraction", level, text, Advice("closure.dimension", why))


def _condition(metrics: Metrics) -> Finding:
    """How well conditioned the Jacobian is."""
    value = plain(metrics["condition_number"]["median"])
    if value is None:
        return Finding("condition number", "unknown", "The condition number is unknown.")
    text = f"The condition number of the encoder's Jacobian is {value:.3g}"
    why = "raise it, or use modes: what is ill-conditioned is learned from no forces"
    level = _level(value, CONDITION_GOOD, CONDITION_FAIR)
    return _finding("condition number", level, text, Advice("closure.condition_penalty", why))


def _level(value: float, good: float, fair: float) -> Level:
    return "good" if value <= good else "fair" if value <= fair else "poor"


def _finding(subject: str, level: Level, text: str, advice: Advice) -> Finding:
    """A finding whose advice is given where it is needed."""
    return Finding(subject, level, f"{text}.", () if level == "good" else (advice,))
