"""The report's front page: what was done, how well it went, and what to change."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from macrodyn.evaluation.pages import figure, page
from macrodyn.evaluation.tables import html_table
from macrodyn.evaluation.verdict import Verdict, judge
from macrodyn.pipeline.figure_pages import caption, render

Metrics = Mapping[str, Any]

LEVELS = {"good": "good", "fair": "fair", "poor": "poor", "unknown": "cannot be judged"}
# Two pictures leave room in the page for the verdicts of many runs.
_LARGEST_PICTURE = 400_000
_HOW = (
    "Small systems were simulated and put together to snapshots of the large one, which were "
    "relaxed patch by patch. Some patches of each snapshot were evolved for a short time. From "
    "their increments came the drift and the diffusion of the large system's observables, and of "
    "closure variables that complete them. The trajectories that follow are compared with direct "
    "simulation of the large system, from which nothing was learned."
)


@dataclass(frozen=True, kw_only=True)
class Study:
    """What the front page tells of.

    Attributes:
        title: The study's title, or its name.
        runs: The metrics of its runs.
        rows: The rows of summary.csv.
        folder: The study's folder.
        captions: Where the figures' captions stand.
        differences: What each run changes in the base.
    """

    title: str
    runs: Sequence[Metrics]
    rows: Sequence[Mapping[str, Any]]
    folder: Path
    captions: Path
    differences: Mapping[str, Any]


def overview_page(study: Study) -> str:
    """Make the front page."""
    verdicts = {run["run"]: judge(run) for run in study.runs}
    parts = [
        f"<h1>{html.escape(study.title)}</h1>",
        '<p class="lead">Macroscopic dynamics of a large system, learned from small ones</p>',
        _facts(study.runs),
        f"<p>{_HOW}</p>",
        _first(study.runs[0]["run"], verdicts),
        "<h2>Result</h2>",
        *_main_figures(study),
        *_tables(study),
        "<h2>What the numbers say</h2>",
        *(
            _section(name, verdict, study.differences.get(name))
            for name, verdict in verdicts.items()
        ),
    ]
    return page(study.title, "\n".join(parts))


def _first(run: str, verdicts: Mapping[str, Verdict]) -> str:
    """Say in a sentence how the first run went."""
    verdict = verdicts[run]
    more = " The other runs, and what to change: below." if len(verdicts) > 1 else ""
    return (
        f"<p><strong>Run {html.escape(run)}</strong> {_badge(verdict.level)}<br>"
        f"{html.escape(verdict.headline)}{more}</p>"
    )


def _badge(level: str) -> str:
    return f'<span class="level {level}">{LEVELS[level]}</span>'


def _facts(runs: Sequence[Metrics]) -> str:
    """System, parameters and sizes; where runs differ, all of them."""
    configs = [run["config"] for run in runs]
    facts = {
        "System": [str(c["system"]["name"]) for c in configs],
        "Parameters": [_parameters(c) for c in configs],
        "Large system": [_sites(c["sizes"]["large"]) for c in configs],
        "Small systems": [_sites(c["sizes"]["small"]) for c in configs],
        "Patches": [
            f"K = {run['samples']['patches_total']:,}, of which m = "
            f"{run['samples']['patches_evolved']:,} of each snapshot were evolved"
            for run in runs
        ],
        "Compared": [_compared(c) for c in configs],
    }
    lines = "\n".join(
        f"<dt>{name}</dt><dd>{html.escape('; '.join(dict.fromkeys(values)))}</dd>"
        for name, values in facts.items()
    )
    return f'<dl class="facts">\n{lines}\n</dl>'


def _parameters(config: Metrics) -> str:
    given = dict(config["system"]["parameters"])
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


def _compared(config: Metrics) -> str:
    evaluate = config["evaluate"]
    horizons = ", ".join(
        f"{name} to t = {h['spacing'] * (h['points'] - 1):g}"
        for name, h in evaluate["horizons"].items()
    )
    return f"{evaluate['replicas']} trajectories for each initial macrostate; {horizons}"


def _main_figures(study: Study) -> list[str]:
    """The figure across runs where sizes differ, and the first run's trajectories."""
    first = study.runs[0]
    horizon = next(iter(first["horizons"]), None)
    if horizon is None:
        return []
    found: dict[str, tuple[Path, str]] = {}
    if len({tuple(run["config"]["sizes"]["small"]) for run in study.runs}) > 1:
        name = f"error-against-patch-size-{horizon}"
        found[name] = study.folder / "figures" / f"{name}.png", f"Test errors, {horizon}."
    path = study.folder / first["run"] / "figures" / "trajectories" / f"{horizon}-ours.png"
    found[f"trajectories-{horizon}-ours"] = path, f"Run {first['run']}, {horizon}."
    return [
        figure(
            path,
            f"<strong>{html.escape(what)}</strong> {caption(study.captions, name)}",
            what,
            largest=_LARGEST_PICTURE,
        )
        for name, (path, what) in found.items()
        if path.exists()
    ]


def _tables(study: Study) -> list[str]:
    """The results by horizon, the deviations from what is known exactly, and the costs."""
    head = {"run": "run", "small": "small system"}
    tables = []
    horizons = dict.fromkeys(h for run in study.runs for h in run["horizons"])
    for horizon in horizons:
        headings = head | {
            f"{horizon}:ours": "test error, ours",
            f"{horizon}:ours_std": "± over members",
            f"{horizon}:sampling": "exact model would score",
            f"{horizon}:naive": "test error, naive",
            f"{horizon}:full": "test error, full",
            f"{horizon}:spread": "spread error, ours",
            f"{horizon}:ours_mmd": "MMD², ours",
            f"{horizon}:outside": "share outside training data",
        }
        rows = [row for row in study.rows if f"{horizon}:ours" in row]
        tables.append(html_table(rows, headings, f"Comparison with direct simulation: {horizon}"))
    exact = {
        f"{kind}_{size}_percent": f"{kind}, {word} [%]"
        for kind in ("drift", "diffusion")
        for size, word in (("rms", "root mean square"), ("max", "largest"))
    }
    if any(row.get(column) is not None for row in study.rows for column in exact):
        tables.append(html_table(study.rows, head | exact, "Deviation from the exact functions"))
    costs = {
        "site_updates_ours": "site updates, ours",
        "site_updates_direct": "site updates, direct simulation",
        "core_seconds_ours": "core seconds, ours",
        "core_seconds_direct": "core seconds, direct simulation",
    }
    tables.append(html_table(study.rows, head | costs, "Costs"))
    note = f'<div class="note">{render(study.captions / "summary.rst", {})}</div>'
    return [*tables, note]


def _section(name: str, verdict: Verdict, changes: Any) -> str:
    """One run's verdict."""
    lines = [
        f"<h3>Run {html.escape(name)} {_badge(verdict.level)}</h3>",
    ]
    if changes:
        text = html.escape(json.dumps(changes, ensure_ascii=False))
        lines.append(f'<p class="lead">Differs from the study\'s base in <code>{text}</code></p>')
    lines.append(f"<p>{html.escape(verdict.headline)}</p>\n<ul>")
    for finding in verdict.findings:
        if not verdict.headline.startswith(finding.text):
            lines.append(f"<li>{html.escape(finding.text)} {_badge(finding.level)}</li>")
    lines.append("</ul>")
    if verdict.advice:
        lines.append("<p>What to change:</p>\n<ul>")
        lines += [
            f"<li><code>{html.escape(advice.key)}</code>: {html.escape(advice.text)}</li>"
            for advice in verdict.advice
        ]
        lines.append("</ul>")
    return "\n".join(lines)
