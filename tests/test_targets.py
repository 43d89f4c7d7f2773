"""What is named as module:name is loaded, or what is missing is told."""

from __future__ import annotations

import pytest

from macrodyn.targets import load_target


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("no_such_module:f", "cannot load no_such_module:f: No module named 'no_such_module'"),
        ("json:no_such", "cannot load json:no_such: module 'json' has no attribute 'no_such'"),
    ],
)
def test_what_cannot_be_loaded_is_told(target, told):
    with pytest.raises(ImportError) as refusal:
        load_target(target)
    assert str(refusal.value) == told


def test_a_function_is_loaded():
    assert load_target("json:dumps")([1]) == "[1]"
