"""The pages of the report on where results come from: the configuration, and what made them."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import yaml
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import YamlLexer

from macrodyn.evaluation.pages import page
from macrodyn.evaluation.tables import html_table
from macrodyn.storage.machine import machine
from macrodyn.storage.provenance import provenance
from macrodyn.systems.origin import system_origin
from macrodyn.systems.registry import UnknownSystemError


def configuration_page(study: str, config: Mapping[str, Any], command: str) -> str:
    """Show the study's configuration as YAML.

    Args:
        study: The study's name.
        config: Its configuration.
        command: The command that ran it; '' if that is unknown.
    """
    # Lists of values on one line, as one writes them by hand.
    text = yaml.safe_dump(
        dict(config), sort_keys=False, allow_unicode=True, width=88, default_flow_style=None
    )
    formatter: HtmlFormatter[str] = HtmlFormatter(nowrap=True)
    code = highlight(text, YamlLexer(), formatter)
    run = f"<p>Run by <code>{html.escape(command)}</code>.</p>" if command else ""
    body = (
        f"<h1>Configuration</h1>\n<p class='lead'>Study {html.escape(study)}, as it was read; keys "
        f"that do not stand here have their defaults.</p>\n{run}\n<pre>{code}</pre>"
    )
    return page("Configuration", body, style=formatter.get_style_defs("pre"))


def provenance_page(study: str, runs: Sequence[Mapping[str, Any]], command: str) -> str:
    """Show what made the results: command, date, machine, sources, versions, systems, seeds.

    Args:
        study: The study's name.
        runs: The metrics of its runs.
        command: The command that ran it; '' if that is unknown.
    """
    made = provenance("summary", {})
    here = {
        "command": command or "unknown",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        **machine(),
        "source": f"git commit {made['git_commit']}" if made["git_commit"] else "not in git",
        "configuration": "see the page Configuration; study.json and metrics.json hold it too",
    }
    systems = dict.fromkeys(str(run["config"]["system"]["name"]) for run in runs)
    software = json.loads(made["software"])
    seeds = {str(run["run"]): str(run["config"]["seed"]) for run in runs}
    groups = {
        "The summary": here,
        "Microscopic systems": {name: _origin(name) for name in systems},
        "Versions": software,
        "Seeds": {f"run {name}": seed for name, seed in seeds.items()},
    }
    tables = [_pairs(title, values) for title, values in groups.items()]
    lead = (
        f"<h1>Provenance</h1>\n<p class='lead'>Study {html.escape(study)}: what made this summary. "
        "Every data file and model carries its own commit, versions and configuration too.</p>"
    )
    return page("Provenance", "\n".join([lead, *tables]))


def _origin(name: str) -> str:
    try:
        return system_origin(name)
    except UnknownSystemError as error:
        return str(error)


def _pairs(title: str, values: Mapping[str, str]) -> str:
    rows = [{"what": what, "value": value} for what, value in values.items()]
    return f"<h2>{title}</h2>\n" + html_table(rows, {"what": "what", "value": "value"})
