"""How the results of runs of partial evolution are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from macrodyn.evaluation.verdict import Verdict, judge
from macrodyn.evaluation.verdict_predicted import without_reference
from macrodyn.methods.partial_evolution.report_predicted import predicted_columns, predicted_tables
from macrodyn.methods.report import Metrics, Report, Row, Table, costs, number, parameters
from macrodyn.storage.errors import StoreError

SCHEMES = ("ours", "naive", "full", "polynomial")
_EXACT = ("drift", "diffusion")
WAYS = ("ours", "direct", "check")


class PartialEvolutionReport(Report):
    """Test errors against direct simulation, with what an exact model would score.

    Of a system that was not simulated, how far predictions agree with each other.
    """

    lead = "Macroscopic dynamics of a large system, learned from small ones"
    how = (
        "Small systems were simulated and put together to snapshots of the large one, which were "
        "relaxed patch by patch, or brought to equilibrium. Some patches of each snapshot were "
        "evolved for a short time. From their increments came the drift and the diffusion of the "
        "large system's observables, and of closure variables that complete them."
    )
    note = "summary.rst"
    columns = (
        "Test errors, squared MMD, and deviations from the exact drift and diffusion: mean over "
        "the members of the ensemble."
    )

    def row(self, metrics: Metrics) -> Row:
        """Return a run's row of summary.csv; see `summary_row`."""
        return summary_row(metrics)

    def made(self, runs: Sequence[Metrics]) -> str:
        """Return what was done, and what the predictions are compared with."""
        alone = [without_reference(run) for run in runs]
        compared = (
            "The trajectories that follow are compared with direct simulation of the large system, "
            "from which nothing was learned."
        )
        alike = (
            "The large system was not simulated: there is no reference for its predictions. The "
            "same model is compared with direct simulation of smaller systems, if any were asked "
            "for; the rest that is said of it needs no reference."
        )
        if all(alone):
            return f"{self.how} {alike}"
        names = ", ".join(run["run"] for run, found in zip(runs, alone, strict=True) if found)
        others = f" In {names}: {alike[0].lower()}{alike[1:]}" if names else ""
        return f"{self.how} {compared}{others}"

    def facts(self, runs: Sequence[Metrics]) -> dict[str, list[str]]:
        """Return system, parameters and sizes of each run."""
        configs = [run["config"] for run in runs]
        several = any(c["sizes"].get("train") for c in configs)
        learned = {"Learned from": [_learned_from(c) for c in configs]} if several else {}
        return {
            "System": [str(c["system"]["name"]) for c in configs],
            "Parameters": [_parameters(c) for c in configs],
            "Large system": [_sites(c["sizes"]["large"]) for c in configs],
            "Small systems": [_sites(c["sizes"]["small"]) for c in configs],
            **learned,
            "Patches": [
                f"K = {run['samples']['patches_total']:,}, of which m = "
                f"{run['samples']['patches_evolved']:,} of each snapshot were evolved"
                for run in runs
            ],
            "Compared": [_compared(run) for run in runs],
        }

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """Return the results by horizon, the deviations from what is known exactly, the costs."""
        head = {"run": "run", "small": "small system"}
        columns = dict.fromkeys(column for row in rows for column in row)
        horizons = [c.removesuffix(":ours") for c in columns if c.endswith(":ours")]
        tables = []
        for horizon in horizons:
            headings = head | {
                f"{horizon}:ours": "test error, ours",
                f"{horizon}:ours_std": "± over members",
                f"{horizon}:sampling": "exact model would score",
                f"{horizon}:naive": "test error, naive",
                f"{horizon}:full": "test error, full",
                f"{horizon}:polynomial": "test error, polynomial",
                f"{horizon}:spread": "spread error, ours",
                f"{horizon}:ours_mmd": "MMD², ours",
                f"{horizon}:outside": "share outside training data",
            }
            title = f"Comparison with direct simulation: {horizon}"
            having = [row for row in rows if f"{horizon}:ours" in row]
            tables.append(Table(title=title, headings=headings, rows=having))
            tables.append(_scheme_table(having, horizon))
        tables = [*predicted_tables(rows, head), *tables]
        exact = {
            f"{kind}_{size}_percent": f"{kind}, {word} [%]"
            for kind in _EXACT
            for size, word in (("rms", "root mean square"), ("max", "largest"))
        }
        if any(row.get(column) is not None for row in rows for column in exact):
            title = "Deviation from the exact functions"
            tables.append(Table(title=title, headings=head | exact, rows=rows))
        spent = {
            "site_updates_ours": "site updates, ours",
            "site_updates_direct": "site updates, direct simulation",
            "site_updates_check": "site updates, direct simulation of smaller sizes",
            "core_seconds_ours": "core seconds, ours",
            "core_seconds_direct": "core seconds, direct simulation",
            "core_seconds_check": "core seconds, direct simulation of smaller sizes",
        }
        return [*tables, Table(title="Costs", headings=head | spent, rows=rows)]

    def verdict(self, metrics: Metrics) -> Verdict:
        """Judge a run by its metrics."""
        return judge(metrics)

    def main_figures(self, runs: Sequence[Metrics]) -> list[tuple[str, str]]:
        """Return the figure across runs where sizes differ, and the first run's trajectories."""
        compared = next(iter(runs[0]["horizons"]), None)
        horizon = next(iter(runs[0].get("predicted") or ()), compared)
        sizes = {tuple(run["config"]["sizes"]["small"]) for run in runs}
        across = [(f"Error against patch size, {compared}", "")] if len(sizes) > 1 else []
        return [*across, (f"Trajectories, {horizon}, ours", runs[0]["run"])]

    def published(self, rows: Sequence[Row], runs: Mapping[str, Metrics]) -> list[list[str]]:
        """Return test errors with published ones beside them, and deviations from exact functions.

        Raises:
            StoreError: If the table lacks a column of a horizon of the runs.
        """
        horizons = list(dict.fromkeys(h for run in runs.values() for h in run["horizons"]))
        for column in (f"{horizon}:ours" for horizon in horizons):
            if column not in rows[0]:
                raise StoreError(f"has no column {column}")
        heads = ["run", "n_s", "patches m of K"]
        for horizon in horizons:
            heads += [f"{horizon}: ours ± sd", *_shown(rows), "published", "sampling error"]
            heads += ["MMD²"] if f"{horizon}:ours_mmd" in rows[0] else []
        heads += [f"{kind} %: rms (max)" for kind in _EXACT if f"{kind}_rms_percent" in rows[0]]
        shown = _shown(rows)
        return [heads, *(_cells(row, runs[row["run"]], horizons, shown) for row in rows)]


def summary_row(metrics: Metrics) -> Row:
    """Return a run's row of summary.csv.

    A column of one horizon is `<horizon>:<what>`: no name holds a colon, so that it is no other's.
    """
    config = metrics["config"]
    sizes = config["sizes"]
    row: dict[str, Any] = {
        "run": metrics["run"],
        "small": "x".join(map(str, sizes["small"])),
        "large": "x".join(map(str, sizes["large"])),
    }
    for horizon, values in metrics["horizons"].items():
        for scheme in SCHEMES:
            row[f"{horizon}:{scheme}"] = found(values, scheme, "test_error", "mean")
            if scheme == "ours":
                row[f"{horizon}:ours_std"] = found(values, scheme, "test_error", "std")
            row |= _scheme_columns(values, scheme, horizon)
        row[f"{horizon}:spread"] = found(values, "ours", "spread_error", "mean")
        row[f"{horizon}:sampling"] = found(values, "sampling_error", "mean")
        row[f"{horizon}:sampling_spread"] = found(values, "sampling_error", "spread")
        if "mmd" in values["ours"]:
            row[f"{horizon}:sampling_mmd"] = found(values, "ours", "mmd", "null_mean")
        if "range" in values["ours"]:
            row[f"{horizon}:outside"] = found(values, "ours", "range", "outside")
    row |= predicted_columns(metrics)
    if metrics.get("exact"):
        for kind in ("drift", "diffusion"):
            for size in ("rms", "max"):
                row[f"{kind}_{size}_percent"] = _worst_percent(metrics["exact"][kind], size)
    ways = {way: spent for way, spent in metrics["costs"].items() if way in WAYS}
    return row | costs({"costs": ways})


_BY_SCHEME = {
    "": "test error, mean over members",
    "_median": "median member",
    "_worst": "worst member",
    "_mean_model": "mean model",
    "_kept": "mean without those that left",
    "_left": "members that left",
    "_spread": "spread error",
    "_mean_model_spread": "spread error, mean model",
    "_mmd": "MMD²",
    "_mean_model_mmd": "MMD², mean model",
}
_EXACT_SCORES = {"": "sampling", "_spread": "sampling_spread", "_mmd": "sampling_mmd"}


def _scheme_columns(values: Metrics, scheme: str, horizon: str) -> Row:
    """Members and mean model of a scheme, as columns of summary.csv."""
    merits = values.get(scheme)
    if merits is None:
        return {}
    head = f"{horizon}:{scheme}"
    row: Row = {}
    members = found(merits, "test_error", "members")
    row[f"{head}_median"] = members and float(np.median(numbers(members)))
    row[f"{head}_worst"] = members and max(numbers(members))
    if scheme != "ours":
        row[f"{head}_spread"] = found(merits, "spread_error", "mean")
    if "mmd" in merits:
        distances = found(merits, "mmd", "members")
        row[f"{head}_mmd"] = distances and float(np.mean(numbers(distances)))
    if "mean_model" in merits:
        row[f"{head}_mean_model"] = found(merits, "mean_model", "test_error")
        row[f"{head}_mean_model_spread"] = found(merits, "mean_model", "spread_error")
        row[f"{head}_mean_model_mmd"] = found(merits, "mean_model", "mmd")
    if "members" in merits:
        row[f"{head}_left"] = len(found(merits, "members", "outliers") or [])
        row[f"{head}_kept"] = found(merits, "members", "test_error")
    return row


def _scheme_table(rows: Sequence[Row], horizon: str) -> Table:
    """One line for each scheme of each run, and one for what an exact model would score."""
    lines: list[Row] = []
    for row in rows:
        for scheme in SCHEMES:
            values = {key: row.get(f"{horizon}:{scheme}{key}") for key in _BY_SCHEME}
            if scheme == "ours":
                values["_spread"] = row.get(f"{horizon}:spread")
            if not values["_left"]:
                # It is the mean over all of them.
                values["_kept"] = None
            if any(value is not None for value in values.values()):
                lines.append({"run": row["run"], "scheme": scheme, **values})
        exact = {key: row.get(f"{horizon}:{column}") for key, column in _EXACT_SCORES.items()}
        if any(value is not None for value in exact.values()):
            lines.append({"run": row["run"], "scheme": "exact model", **exact})
    headings = {"run": "run", "scheme": "scheme", **_BY_SCHEME}
    return Table(title=f"Members and mean model: {horizon}", headings=headings, rows=lines)


def found(metrics: Metrics, *path: str) -> Any:
    """Return a value of the metrics, or None where it or a part that holds it is missing."""
    value: Any = metrics
    for key in path:
        value = None if value is None else value.get(key)
    return value


def _worst_percent(deviations: dict[str, Any], size: str) -> float | None:
    """Deviation of the worst observable, mean over members, in %; None if nothing is known."""
    largest = [deviation[size]["mean"] for deviation in deviations.values() if deviation]
    return 100 * max(numbers(largest)) if largest else None


def numbers(values: list[Any]) -> list[float]:
    """Turn what JSON holds into numbers: a word or null for what diverged."""
    return [np.inf if v == "diverged" or v is None else float(v) for v in values]


def _parameters(config: Metrics) -> str:
    given = parameters(config["system"])
    sampled = {
        k: f"{given.get(k)} (learned at {_list(v)})" for k, v in config["conditions"].items()
    }
    values = {**given, **sampled}
    return ", ".join(f"{name} = {value}" for name, value in values.items()) or "none given"


def _list(values: Sequence[Any]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _sites(shape: Sequence[int]) -> str:
    size = " × ".join(map(str, shape))
    number = 1
    for side in shape:
        number *= side
    return f"{size} sites" if len(shape) == 1 else f"{size} = {number:,} sites"


def _learned_from(config: Metrics) -> str:
    sizes = config["sizes"]
    given = sizes.get("train") or [sizes["large"]]
    together = " together" if len(given) > 1 else ""
    return f"snapshots of {', '.join(map(_sites, given))}{together}"


def _compared(run: Metrics) -> str:
    config = run["config"]
    evaluate = config["evaluate"]
    horizons = ", ".join(
        f"{name} to t = {h['spacing'] * (h['points'] - 1):g}"
        for name, h in evaluate["horizons"].items()
    )
    sizes = ", ".join(_sites(shape) for shape in evaluate.get("sizes") or [])
    at = f"; on {sizes}, by the model of {_sites(config['sizes']['large'])}" if sizes else ""
    if evaluate.get("reference") == "none":
        smaller = dict.fromkeys(map(tuple, (run.get("checked") or {}).values()))
        on = " and ".join(map(_sites, smaller))
        told = f"at {on} alone, {evaluate['replicas']} trajectories" if on else "with nothing"
        return f"{told}{' for each initial macrostate' if on else ''}; {horizons}{at}"
    return f"{evaluate['replicas']} trajectories for each initial macrostate; {horizons}{at}"


def _shown(rows: Sequence[Row]) -> list[str]:
    """Baselines that a table has: naive and full, and polynomial where a run has it."""
    asked = any(
        row[column] not in (None, "")
        for row in rows
        for column in row
        if column.endswith(":polynomial")
    )
    return list(SCHEMES[1:] if asked else SCHEMES[1:3])


def _cells(row: Row, metrics: Metrics, horizons: list[str], shown: list[str]) -> list[str]:
    samples = metrics["samples"]
    cells = [
        row["run"],
        row["small"],
        f"{samples['patches_evolved']} of {samples['patches_total']}",
    ]
    for horizon in horizons:
        published = metrics["config"]["published"].get(horizon, {})
        cells.append(f"{number(row[f'{horizon}:ours'])} ± {number(row[f'{horizon}:ours_std'])}")
        cells += [number(row.get(f"{horizon}:{scheme}")) for scheme in shown]
        cells.append("; ".join(f"{number(v)} ({k})" for k, v in published.items()) or "-")
        cells.append(number(row[f"{horizon}:sampling"]))
        if f"{horizon}:ours_mmd" in row:
            cells.append(number(row[f"{horizon}:ours_mmd"]))
    for kind in _EXACT:
        if f"{kind}_rms_percent" in row:
            rms, most = (row[f"{kind}_{size}_percent"] for size in ("rms", "max"))
            cells.append(f"{rms:.2g} ({most:.2g})" if isinstance(rms, float) else "-")
    return cells
