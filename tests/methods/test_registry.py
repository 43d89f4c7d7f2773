"""Methods are found by the names of their entry points, or by module:Class."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from macrodyn.methods import registry
from macrodyn.methods.partial_evolution.method import PartialEvolution
from macrodyn.methods.registry import (
    GROUP,
    UnknownMethodError,
    available_methods,
    find_method,
    method_of,
)


@pytest.fixture(autouse=True)
def fresh():
    """Methods are loaded once in a process: here anew."""
    find_method.cache_clear()
    yield
    find_method.cache_clear()


def test_a_built_in_method_is_found_without_looking_at_what_is_installed(monkeypatch):
    """That reads the metadata of every package, in each job."""
    monkeypatch.setattr(registry, "entry_points", lambda **_: pytest.fail("was asked"))
    assert isinstance(find_method("partial-evolution"), PartialEvolution)


def test_an_own_method_is_found_by_its_class_and_once(own_method, make_run):
    found = find_method("own_method:Counting")
    assert type(found).__name__ == "Counting" and find_method("own_method:Counting") is found
    assert method_of(make_run().model_copy(update={"method": "own_method:Counting"})) is found


def test_an_installed_method_is_found_by_its_name(own_method, monkeypatch):
    installed = [EntryPoint("count", "own_method:Counting", GROUP)]
    # A package cannot take the place of what is built in.
    installed.append(EntryPoint("partial-evolution", "own_method:Counting", GROUP))
    monkeypatch.setattr(registry, "entry_points", lambda group: installed)
    assert type(find_method("count")).__name__ == "Counting"
    assert isinstance(find_method("partial-evolution"), PartialEvolution)
    assert next(iter(available_methods())) == "partial-evolution"
    assert available_methods()["partial-evolution"].value.startswith("macrodyn.")


REFUSED = {
    "guess": "unknown method 'guess'; installed methods: partial-evolution",
    "nowhere:Method": "cannot load method 'nowhere:Method': cannot load nowhere:Method: No module",
    "own_method:Missing": "has no attribute 'Missing'",
    "own_method:CountingRun": "'own_method:CountingRun' is not a subclass of macrodyn.methods.base",
    "own_method:nothing": "is not a subclass",
}


@pytest.mark.parametrize(("name", "told"), REFUSED.items(), ids=REFUSED)
def test_what_is_no_method_is_refused(own_method, name, told):
    with pytest.raises(UnknownMethodError) as refusal:
        find_method(name)
    assert told in str(refusal.value)


def test_a_module_that_cannot_be_imported_says_why(tmp_path, monkeypatch):
    (tmp_path / "broken_method.py").write_text("1 / 0\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnknownMethodError, match="'broken_method:It': division by zero"):
        find_method("broken_method:It")
