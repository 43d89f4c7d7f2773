"""Systems are found by name, by ``module:Class``, and their parameters are checked."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
from pydantic import ValidationError

from macrodyn.systems import UnknownSystemError, available_systems, registry, system_class
from macrodyn.systems.ising import Ising


def test_built_in_system_is_found():
    assert "ising" in available_systems()
    assert system_class("ising") is Ising


def test_class_is_found_by_its_module():
    assert system_class("macrodyn.systems.ising:Ising") is Ising


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_version_of_a_built_in_system_is_known_without_loading_it(name):
    assert registry.system_version(name) == system_class(name).version


def test_plans_load_no_kernels():
    """A study is planned anew in each of its jobs."""
    code = (
        "import sys; from macrodyn.systems.registry import BUILT_IN, parameters_class\n"
        "from macrodyn.systems.ising import IsingParameters\n"
        "assert [parameters_class(name) for name in BUILT_IN][0] is IsingParameters\n"
        "print(*sorted({'numba', 'torch', 'macrodyn.systems.ising.system'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.stdout == "\n", done.stderr


def test_class_is_looked_for_once(monkeypatch):
    """Each look reads the metadata of all installed packages, for each job of a study."""
    looks = []
    monkeypatch.setattr(registry, "entry_points", lambda **_: looks.append(1) or [])
    system_class.cache_clear()
    assert {system_class("ising") for _ in range(100)} == {Ising}
    assert len(looks) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("isng", "unknown system 'isng'; installed systems: .*ising"),
        (
            "no_such_package:System",
            "cannot load system 'no_such_package:System': No module named 'no_such_package': "
            "install the package or add its folder to PYTHONPATH$",
        ),
        ("no_such_package.part:System", "No module named .*: install the package or add its"),
        ("macrodyn.systems.ising:Missing", "cannot load system"),
        (":Ising", "cannot load system ':Ising': name it as package.module:Class"),
        (".ising:Ising", "name it as package.module:Class"),
        ("pathlib:Path", "not a subclass of macrodyn.systems.System"),
        ("macrodyn.systems.ising:kernels", "not a subclass"),
    ],
)
def test_unknown_systems_are_named_in_the_error(name, message):
    with pytest.raises(UnknownSystemError, match=message):
        system_class(name)


BROKEN = {
    "syntax": ("x = (1\n", r"SyntaxError: '\(' was never closed \(.*broken_syntax\.py:1\)"),
    "name": ("\nx = y\n", r"NameError: name 'y' is not defined \(.*broken_name\.py:2\)"),
    "library": (
        "import numpy\nimport json\njson.loads('{')\n",
        r"JSONDecodeError: Expecting property name .* \(.*broken_library\.py:3\)",
    ),
    "import": (
        "import no_such_library\n",
        r"ModuleNotFoundError: No module named 'no_such_library' \(.*broken_import\.py:1\)",
    ),
    "own": (
        "raise RuntimeError('two\\nlines')\n",
        r"RuntimeError: two lines \(.*broken_own\.py:1\)",
    ),
}


@pytest.mark.parametrize("entry", [False, True], ids=["module:Class", "entry point"])
@pytest.mark.parametrize(
    ("kind", "code", "message"), [(k, *v) for k, v in BROKEN.items()], ids=BROKEN
)
def test_error_in_a_module_is_said_with_its_place(
    tmp_path, monkeypatch, kind, code, message, entry
):
    target = f"broken_{kind}:System"
    (tmp_path / f"broken_{kind}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    name = target
    if entry:
        name = f"broken-{kind}"
        found = EntryPoint(name, target, registry.GROUP)
        monkeypatch.setattr(registry, "entry_points", lambda **_: [found])
    with pytest.raises(UnknownSystemError, match=f"cannot load system '{name}': {message}$"):
        system_class(name)


def test_changed_parameters_are_validated(make_ising):
    system = make_ising(temperature=2.5, field=0.1)
    changed = system.with_parameters(field=0.3)
    assert (changed.parameters.temperature, changed.parameters.field) == (2.5, 0.3)
    assert system.parameters.field == 0.1
    with pytest.raises(ValidationError, match="greater than 0"):
        system.with_parameters(temperature=-1.0)
    with pytest.raises(ValidationError, match="Extra inputs"):
        system.with_parameters(coupling=1.0)
