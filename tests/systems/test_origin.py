"""Which version of a system made a result."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

import macrodyn
from macrodyn.systems.origin import system_origin
from macrodyn.systems.registry import UnknownSystemError, system_class

SOURCE = """
from macrodyn.systems.ising import Ising
class Mine(Ising):
    pass
"""


def test_a_built_in_system_has_the_packages_version() -> None:
    assert system_origin("ising") == f"macrodyn {macrodyn.__version__}"


def test_an_own_system_is_told_by_its_file(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "module_of_my_own.py"
    file.write_text(SOURCE, encoding="utf-8")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    try:
        assert system_origin("module_of_my_own:Mine") == f"{file.name} (SHA-256 {digest})"
        file.write_text(SOURCE + "    edited = True\n", encoding="utf-8")
        assert digest not in system_origin("module_of_my_own:Mine")
    finally:
        sys.modules.pop("module_of_my_own", None)
        system_class.cache_clear()


def test_a_system_that_is_not_there_is_named() -> None:
    with pytest.raises(UnknownSystemError, match="nowhere"):
        system_origin("nowhere:Mine")
