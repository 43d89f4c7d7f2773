"""Try a system's methods in a process of their own: within a limit of time, and once.

The methods of an own system are tried before any job, at every start. One that is slow, or never
ends, must not keep a study from starting, and compiled code cannot be interrupted from within; so
the trial runs in a child, which is ended at the limit. What passed is remembered.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from macrodyn import __version__
from macrodyn.storage.files import write_json
from macrodyn.systems.base import System
from macrodyn.systems.registry import system_class
from macrodyn.systems.trial.case import Case, ForceCase
from macrodyn.systems.trial.forces import ForceTrial
from macrodyn.systems.trial.methods import Trial

# Seconds that a trial may take, and where another number stands.
LIMIT = 60.0
VARIABLE = "MACRODYN_TRIAL_SECONDS"
# Trials that need not be repeated, beside what Snakemake keeps of a folder's studies; none is kept
# where there is no such folder.
KNOWN = Path(".snakemake/macrodyn-trials")

_CHILD = "from macrodyn.systems.trial.limit import try_in_child; try_in_child({!r})"
# How each kind of case is tried.
_TRIALS: dict[str, tuple[Any, Any]] = {
    "Case": (Case, Trial),
    "ForceCase": (ForceCase, ForceTrial),
}


def tried(case: Case | ForceCase, system: System) -> list[str]:
    """Try the methods of a system that is not built in, unless they were tried already.

    Args:
        case: What they are tried on; its sizes and macrostates fit the system.
        system: The system, of patches or with forces as the case is.

    Returns:
        What is wrong with them; nothing where the limit was reached, which is said on standard
        error.
    """
    # The tests of those that are built in say more, and their kernels take long to compile.
    if type(system).__module__.split(".")[0] == "macrodyn":
        return []
    name = case.system
    if not _is_found_elsewhere(name, type(system)):
        return _run(case, system)
    digest, limit = _digest(case, type(system)), _limit()
    known = _known(digest)
    if known is not None and (known.passed or known.seconds >= limit):
        if not known.passed:
            _say_untried(name, known.seconds)
        return []
    print(f"Trying the methods of {name} ({limit:.0f} s at most) ...", file=sys.stderr, flush=True)
    found = _in_child(case, limit)
    if found is None:
        _say_untried(name, limit)
    if not found:
        _remember(digest, _Known(found is not None, limit))
    return found or []


@dataclass(frozen=True)
class _Known:
    """What is known of a trial: that it passed, or that it takes more than so many seconds."""

    passed: bool
    seconds: float


_here: dict[str, _Known] = {}


def _known(digest: str) -> _Known | None:
    try:
        content = json.loads((KNOWN / f"{digest}.json").read_text(encoding="utf-8"))
        return _Known(bool(content["passed"]), float(content["seconds"]))
    except (OSError, ValueError, KeyError, TypeError):
        return _here.get(digest)


def _remember(digest: str, known: _Known) -> None:
    _here[digest] = known
    if KNOWN.parent.is_dir():
        try:
            write_json(KNOWN / f"{digest}.json", vars(known))
        except OSError:  # a folder that cannot be written to: it is tried again
            pass


def _say_untried(name: str, seconds: float) -> None:
    print(
        f"The methods of {name} take longer than {seconds:.0f} s on a few small states and were "
        f"not tried to the end. The study goes on; to try them for longer, set {VARIABLE} to a "
        "number of seconds.",
        file=sys.stderr,
        flush=True,
    )


def _run(case: Case | ForceCase, system: Any) -> list[str]:
    found: list[str] = _TRIALS[type(case).__name__][1](system).run(case)
    return found


def try_in_child(kind: str) -> None:
    """Try the methods of the system of the case on standard input; print what is wrong as JSON.

    Args:
        kind: Name of the case's class.
    """
    case = TypeAdapter(_TRIALS[kind][0]).validate_json(sys.stdin.read())
    # What a system prints must not be taken for the answer.
    answer, sys.stdout = sys.stdout, sys.stderr
    cls: Any = system_class(case.system)
    system = cls(cls.Parameters.model_validate(case.parameters))
    json.dump(_run(case, system), answer)


def _in_child(case: Case | ForceCase, limit: float) -> list[str] | None:
    """Return what a child finds wrong; None if it takes longer than the limit, in seconds."""
    # A system may be found by what was added to the path of this process only.
    path = os.pathsep.join(filter(None, sys.path))
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        try:
            done = subprocess.run(
                [sys.executable, "-c", _CHILD.format(type(case).__name__)],
                input=json.dumps(asdict(case)),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                timeout=limit,
                env=os.environ | {"PYTHONPATH": path},
            )
        except subprocess.TimeoutExpired:
            return None
        errors.seek(0)
        said = errors.read().strip().splitlines()
    try:
        return list(json.loads(done.stdout))
    except ValueError:
        last = said[-1] if said else "it said nothing"
        return [f"its methods ended the process that tried them ({done.returncode}): {last}"]


def _is_found_elsewhere(name: str, cls: type[System]) -> bool:
    """Whether another process finds the same class by its name."""
    try:
        return system_class(name) is cls and _source(cls) is not None
    except Exception:  # own code may raise anything while it is imported
        return False


def _source(cls: type[System]) -> Path | None:
    """Return the file of a class's module, if it has one."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return Path(file) if file else None


def _digest(case: Case | ForceCase, cls: type[System]) -> str:
    """Digest of the source of a system's package or module, of the case, and of this version."""
    found = hashlib.sha256(__version__.encode())
    for file in _files(cls):
        found.update(file.read_bytes())
    for own in sorted(Path(__file__).parent.glob("*.py")):
        found.update(own.read_bytes())
    found.update(json.dumps(asdict(case), sort_keys=True).encode())
    return found.hexdigest()[:16]


def _files(cls: type[System]) -> list[Path]:
    """Return the source files that may matter: those of the package, or beside the module."""
    source = _source(cls)
    assert source is not None
    package = sys.modules.get(cls.__module__.split(".")[0])
    roots = [Path(root) for root in getattr(package, "__path__", [])]
    if not roots:
        return sorted(source.parent.glob("*.py"))
    return sorted(file for root in roots for file in root.rglob("*.py"))


def _limit() -> float:
    try:
        seconds = float(os.environ.get(VARIABLE, ""))
    except ValueError:
        return LIMIT
    return seconds if seconds > 0 else LIMIT
