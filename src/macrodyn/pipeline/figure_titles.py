"""The figures of the report: their order, and their names in words."""

from __future__ import annotations

# In the order of the report. After a kind with a dash stands what the user named.
RUN_FIGURES = {
    "trajectories-": "Trajectories",
    "equilibrium-": "Equilibrium",
    "drift-diffusion": "Drift and diffusion",
    "residual-by-age": "Residual by snapshot age",
    "markov": "Markov diagnostic",
    "snapshots": "Snapshots",
    "training": "Training",
}
STUDY_FIGURES = {
    "error-against-patch-size-": "Error against patch size",
    "all-runs": "All runs",
    "mmd-against-covariance-factor-": "MMD against the covariance factor",
    "covariance-factor": "Covariance factor",
    "costs": "Costs",
}


def figure_title(name: str) -> str:
    """Write the name of a figure in words, e.g. `Trajectories, transient, ours`.

    Args:
        name: Its name: the kind, then what the user named, as in `trajectories-short-ours`.
    """
    for kind, title in {**RUN_FIGURES, **STUDY_FIGURES}.items():
        if name == kind:
            return title
        if kind.endswith("-") and name.startswith(kind):
            rest = name.removeprefix(kind)
            # No method has a dash in its name; a horizon may.
            parts = rest.rsplit("-", 1) if kind == "trajectories-" else [rest]
            return ", ".join([title, *parts])
    return name.replace("-", " ").capitalize()


def page_label(stem: str) -> str:
    """Return the label of a page in the report, by which Snakemake sorts.

    Args:
        stem: The page's file name without its suffix, such as `01-trajectories-transient-ours`.
    """
    number, _, name = stem.partition("-")
    return f"{number} {figure_title(name)}"
