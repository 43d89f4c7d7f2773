"""The stage that every study ends with, whatever its methods."""

from macrodyn.pipeline.kind import Figure, StageKind

SUMMARISE = StageKind(
    name="summarise",
    work="macrodyn.pipeline.report.summary:summarise",
    doing="Summarising the study",
    outputs={
        "table": "summary.csv",
        "overview": "overview.html",
        "study_pages": "pages/study",
        "run_pages": "pages/runs",
        "configuration": "configuration.html",
        "provenance": "provenance.html",
        "origin": "summary.json",
    },
    carries_cost="",
    memory=2000,
    minutes=10,
    environment="report",
    place="study",
)
PREPARATION = Figure(pattern="prepared/*.png", title="Preparation", caption="prepared.rst")
"""Figures of what a system has prepared, which the evaluation of each method declares."""
