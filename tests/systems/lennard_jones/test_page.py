"""The code of docs/partial-forces-on-atoms.md runs as it stands, and its forces are right."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from macrodyn.systems.lennard_jones import lennard_jones_forces
from macrodyn.systems.shared.lammps.serving import without_launcher

from .conftest import needs_lammps

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "partial-forces-on-atoms.md"


@needs_lammps
def test_code_of_the_page(tmp_path):
    """It runs in a process of its own, which LAMMPS' MPI may be started in."""
    pytest.importorskip("ase", reason="the package ase is missing: macrodyn[atomistic]")
    blocks = re.findall(
        r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert len(blocks) == 5
    names = ("positions", "forces", "some", "others", "again")
    save = f"np.savez('found.npz', {', '.join(f'{name}={name}' for name in names)})"
    (tmp_path / "page.py").write_text("\n".join([*blocks, save]), encoding="utf-8")
    environment = {**without_launcher(os.environ), "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "page.py"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=120)
    found = np.load(tmp_path / "found.npz")
    assert found["forces"].shape == (50, 3)
    np.testing.assert_array_equal(found["some"], found["forces"])
    scale = np.abs(found["forces"]).max()
    np.testing.assert_allclose(found["again"], found["forces"], rtol=0, atol=1e-10 * scale)
    expected = lennard_jones_forces(found["positions"], np.arange(100), 40.0)
    np.testing.assert_array_equal(found["others"], expected)
    assert (tmp_path / "fluid.xyz").is_file()
