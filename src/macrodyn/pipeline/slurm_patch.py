"""An outage of SLURM's daemons must not make Snakemake forget its jobs.

Version 2.8.0 of the executor plugin stops looking after all active jobs when one look at them
fails, as it does while ``slurmctld`` or ``munge`` is down: Snakemake then waits for ever for jobs
that have long ended. Here such a look says instead that nothing is known, and the next one tells.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

_PLUGIN = "snakemake-executor-plugin-slurm"
# Versions with which the outage has been tried (tests/slurm).
TRIED = frozenset({"2.8.0"})
_QUERY = "query_job_status"
_PARAMETERS = ["command", "logger"]

Statuses = dict[str, str]
Query = Callable[[str, logging.Logger], Awaitable[tuple[Statuses | None, float | None]]]


def survive_outages(plugin: ModuleType, logger: logging.Logger) -> bool:
    """Let the executor plugin keep its jobs while SLURM does not answer.

    A plugin of another version, or another shape, is left as it is, with a warning.

    Args:
        plugin: The module of the executor plugin.
        logger: Snakemake's.

    Returns:
        Whether the plugin is as it must be.
    """
    query = getattr(plugin, _QUERY, None)
    if getattr(query, "patient", False):
        return True
    installed = _version()
    if query is None or installed not in TRIED or not _is_known(query):
        logger.warning(
            f"{_PLUGIN} is version {installed}, with which an outage of SLURM has not been tried "
            f"(that was {', '.join(sorted(TRIED))}): should slurmctld or munge be down for a "
            "while, Snakemake may wait for ever; interrupt it then, and run it again"
        )
        return False
    setattr(plugin, _QUERY, patient(query))
    return True


def patient(query: Query) -> Query:
    """Wrap the plugin's query: where SLURM does not answer, no job's status is known.

    Args:
        query: The plugin's own; ``(None, None)`` is its answer where SLURM does not give one.
    """
    silent = False

    async def ask(command: str, logger: logging.Logger) -> tuple[Statuses, float]:
        nonlocal silent
        statuses, seconds = await query(command, logger)
        if statuses is None:
            if not silent:
                logger.warning(
                    f"SLURM does not answer ({command.split()[0]} failed): its jobs go on, and are "
                    "looked after when it does"
                )
            silent = True
            return {}, 0.0
        if silent:
            logger.warning("SLURM answers again")
        silent = False
        return statuses, seconds or 0.0

    ask.patient = True  # type: ignore[attr-defined]
    return ask


def _version() -> str | None:
    try:
        return version(_PLUGIN)
    except PackageNotFoundError:
        return None


def _is_known(query: Any) -> bool:
    return (
        inspect.iscoroutinefunction(query)
        and list(inspect.signature(query).parameters) == _PARAMETERS
    )
