"""The side of LAMMPS: a process that does what it is asked for until nobody asks any more."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from macrodyn.paths import StrPath
from macrodyn.systems.shared.lammps.errors import LammpsMissingError
from macrodyn.systems.shared.lammps.loading import open_lammps
from macrodyn.systems.shared.lammps.messages import read_message, write_message

LOG = "log.lammps"
FOLDER = "macrodyn-lammps-"
"""How names of the folders begin in which such processes run."""
Action = Callable[..., Iterator[tuple[NDArray, ...]]]
"""Takes LAMMPS, then the arrays and the named values of a request; yields parts of the answer."""


def serve(actions: Mapping[str, Action]) -> None:
    """Answer requests on the standard input until it ends.

    Each request is answered by parts and an end, or by an error; after an error the process ends,
    as LAMMPS may be in any state. Every request begins a log of its own in the current folder.

    Args:
        actions: What can be asked for, by name.
    """
    # Ctrl-C reaches every process of a terminal, and SIGTERM before a time limit every one of a
    # job. Whoever asks decides what they mean, and its end is that of the input.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # What LAMMPS or MPI prints must not get between the messages.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    source = sys.stdin.buffer
    try:
        lmp = open_lammps(["-log", LOG, "-screen", "none", "-nocite"])
        write_message(out, {"kind": "ready", "version": lmp.version()}, [])
        while True:
            request, arrays = read_message(source)
            action = actions[request.pop("action")]
            lmp.command(f"log {LOG}")
            for part in action(lmp, *arrays, **request):
                write_message(out, {"kind": "part"}, part)
            write_message(out, {"kind": "end"}, [])
    except (EOFError, BrokenPipeError):
        # Who asked is gone, and did not come to remove this process's folder.
        if Path.cwd().name.startswith(FOLDER):
            shutil.rmtree(Path.cwd(), ignore_errors=True)
    except Exception as error:  # LAMMPS' errors are plain exceptions
        with suppress(BrokenPipeError):
            missing = isinstance(error, LammpsMissingError)
            if not missing:
                traceback.print_exc()
            answer = {"kind": "missing" if missing else "error", "text": str(error)}
            write_message(out, answer, [])
        # No clean end: that of a broken LAMMPS may hang.
        os._exit(1)


def read_log_end(folder: StrPath, lines: int = 20) -> str:
    """Read the end of LAMMPS' log, and of what was printed.

    Args:
        folder: Current folder of the process.
        lines: How many lines of each.
    """
    found = []
    for name, title in ((LOG, "LAMMPS' log"), ("stderr.txt", "its error output")):
        path = Path(folder) / name
        text = path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""
        if text:
            end = "\n  ".join(text.splitlines()[-lines:])
            found.append(f"The end of {title}:\n  {end}")
    return "\n".join(found) or "There is no log."


def without_launcher(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return an environment in which MPI starts as a single process.

    Under SLURM, and under mpirun, variables tell MPI that it is one of several processes and whom
    to ask for the others; nobody answers a process that a job has started by itself.

    Args:
        environment: Variables and their values.
    """
    return {k: v for k, v in environment.items() if not k.upper().startswith(_LAUNCHERS)}


_LAUNCHERS = (
    "PMI_",
    "PMI2_",
    "PMIX_",
    "PALS_",
    "PRTE_",
    "HYDRA_",
    "HYDI_",
    "SLURM_",
    "SLURMD_",
    "MPI_LOCAL",
    "MPIR_CVAR_PMI",
    "OMPI_COMM_WORLD_",
    "OMPI_UNIVERSE_",
    "FLUX_",
)
