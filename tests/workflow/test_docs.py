"""The first scripts of the documentation run as they stand, on the results of a tiny study."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.workflow

ROOT = Path(__file__).parents[2]
DEMO = 'macrodyn.load("results/demo", "small-16")'


@pytest.mark.parametrize(
    "page, picture",
    [("docs/first-model.md", "first.png"), ("README.md", "trajectories.png")],
    ids=lambda value: Path(value).stem,
)
def test_the_first_script_runs(page, picture, study, tmp_path):
    text = (ROOT / page).read_text(encoding="utf-8")
    (script,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(script.splitlines()) <= 10 and script.count(DEMO) == 1
    script = script.replace(DEMO, f'macrodyn.load({str(study.results)!r}, "base")')
    # The tiny study's lattice has other sides than the demo's.
    script = script.replace("size=(128, 128)", "size=(40, 60)")
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "MPLBACKEND": "agg"},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [picture]
    assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    if page.startswith("docs"):
        assert "run base" in done.stdout and "magnetisation" in done.stdout
