"""Public functions take the name of a file as text."""

from __future__ import annotations

import inspect
import pkgutil
import re
from importlib import import_module

import pytest

import macrodyn

# What users call, and what those functions call; jobs get their paths from the workflow.
PUBLIC = re.compile(
    r"macrodyn\.(storage|closure|dynamics|evaluation|config|systems)\b.*"
    r"|macrodyn\.methods\.(base|registry|report)|macrodyn\.methods\.\w+\.(method|report|samples)"
    r"|macrodyn\.pipeline\.(cuts|identity|kind|logs|metrics|planner|record|stage|stage_system)"
    r"|macrodyn\.pipeline\.monitor\.(asked|expected|job_states|slurm_logs|snakemake_log|status)"
    r"|macrodyn\.pipeline\.report\.(partial|publish|shown|summary)"
)
MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(macrodyn.__path__, "macrodyn.")
    if PUBLIC.fullmatch(name)
]
# A path by itself, or several; not one among other things that a parameter may be.
ONLY_PATHS = re.compile(r"(Sequence\[|list\[|dict\[str, )*Path\b.*")


def public_functions(module):
    for name, found in vars(module).items():
        if name.startswith("_") or getattr(found, "__module__", "") != module.__name__:
            continue
        if inspect.isfunction(found):
            yield name, found
        elif inspect.isclass(found):
            for method, function in inspect.getmembers(found, inspect.isroutine):
                if not method.startswith("_") and hasattr(function, "__annotations__"):
                    yield f"{name}.{method}", function


@pytest.mark.parametrize("name", MODULES)
def test_no_public_function_asks_for_a_path_object(name):
    asking = [
        f"{function}({parameter}: {kind})"
        for function, found in public_functions(import_module(name))
        for parameter, kind in getattr(found, "__annotations__", {}).items()
        if parameter != "return" and ONLY_PATHS.fullmatch(str(kind))
    ]
    assert asking == []


def test_all_of_them_are_looked_at():
    assert {
        "macrodyn.storage.netcdf",
        "macrodyn.closure.model",
        "macrodyn.config.load",
        "macrodyn.methods.partial_evolution.samples",
        "macrodyn.pipeline.planner",
        "macrodyn.pipeline.monitor.status",
    } <= {*MODULES}
