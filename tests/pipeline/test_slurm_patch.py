"""While SLURM does not answer, the executor plugin's jobs are kept; no other plugin is touched."""

from __future__ import annotations

import asyncio
import inspect
import logging
from importlib.metadata import version
from types import ModuleType

import pytest

from macrodyn.pipeline import slurm_patch
from macrodyn.pipeline.slurm_patch import TRIED, survive_outages

NO_ANSWER = (None, None)


async def query_job_status(command, logger):
    return ANSWERS.pop(0)


ANSWERS: list = []


@pytest.fixture
def plugin(monkeypatch) -> ModuleType:
    monkeypatch.setattr(slurm_patch, "version", lambda name: min(TRIED))
    module = ModuleType("plugin")
    module.query_job_status = query_job_status
    return module


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_the_installed_plugin_has_been_tried_and_takes_it():
    assert version("snakemake-executor-plugin-slurm") in TRIED, (
        "try the new version (pytest -m slurm tests/slurm/test_faults.py -k outage), then add it"
    )
    plugin = pytest.importorskip("snakemake_executor_plugin_slurm")
    source = inspect.getsource(plugin.Executor.check_active_jobs)
    # Looked up in the module at each call, so that it can be replaced there.
    assert "await query_job_status(\n" in source
    before = plugin.query_job_status
    try:
        assert survive_outages(plugin, logging.getLogger())
        assert plugin.query_job_status is not before
    finally:
        plugin.query_job_status = before


def test_without_an_answer_nothing_is_known_and_that_is_said_once(plugin, caplog):
    assert survive_outages(plugin, logging.getLogger())
    ANSWERS[:] = [({"1": "RUNNING"}, 0.5), NO_ANSWER, NO_ANSWER, ({"1": "COMPLETED"}, 0.25)]

    def ask():
        return asyncio.run(plugin.query_job_status("squeue --name x", logging.getLogger()))

    assert ask() == ({"1": "RUNNING"}, 0.5)
    assert not warnings(caplog)
    assert ask() == ({}, 0.0) and ask() == ({}, 0.0)
    (said,) = warnings(caplog)
    assert "SLURM does not answer (squeue failed)" in said
    assert ask() == ({"1": "COMPLETED"}, 0.25)
    assert warnings(caplog)[1:] == ["SLURM answers again"]


def test_it_is_done_once(plugin, caplog):
    assert survive_outages(plugin, logging.getLogger())
    first = plugin.query_job_status
    assert survive_outages(plugin, logging.getLogger())
    assert plugin.query_job_status is first and not warnings(caplog)


def with_one_argument(query):
    async def query_job_status(command):
        return NO_ANSWER

    return query_job_status


STRANGE = {
    "another version": ("99.0", lambda query: query),
    "not installed": (None, lambda query: query),
    "other arguments": (min(TRIED), with_one_argument),
    "no coroutine": (min(TRIED), lambda query: lambda command, logger: NO_ANSWER),
    "no such function": (min(TRIED), lambda query: None),
}


@pytest.mark.parametrize(("number", "changed"), STRANGE.values(), ids=STRANGE)
def test_an_unknown_plugin_is_left_alone_and_named(monkeypatch, plugin, caplog, number, changed):
    monkeypatch.setattr(slurm_patch, "_version", lambda: number)
    plugin.query_job_status = query = changed(query_job_status)
    assert not survive_outages(plugin, logging.getLogger())
    assert plugin.query_job_status is query
    (said,) = warnings(caplog)
    assert f"is version {number}" in said and min(TRIED) in said
