"""Failures of the machine and the account that a study runs on, told apart from those of code."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator

_CACHES = (
    "a folder that can be written to: export XDG_CACHE_HOME=FOLDER moves all caches, "
    "NUMBA_CACHE_DIR numba's alone (docs/guide.md, Caches)"
)
_NO_FOLDER = (
    "numba finds no folder for the functions that it compiles, neither beside their source nor in "
    f"the home folder: give it {_CACHES}"
)
_NO_TEMPORARY = (
    "there is no folder for temporary files that can be written to: export TMPDIR=FOLDER"
)
# Text of errors that only the environment causes, and what to do.
_SAID = {
    "no locator available": _NO_FOLDER,
    "No usable temporary directory": _NO_TEMPORARY,
    "MPLCONFIGDIR": "matplotlib has no folder for its cache: export MPLCONFIGDIR=FOLDER",
    "cannot open shared object file": "a library of this machine is missing ({error}): install it, "
    "or macrodyn again on this machine",
    "version `GLIBC": "a library of this machine is too old ({error}): install macrodyn again on "
    "this machine",
}
_PLACES = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
# Modules whose errors of writing concern their caches.
_WRITERS = {
    "numba": f"numba cannot keep a compiled function ({{error}}): give it {_CACHES}",
    "matplotlib": "matplotlib cannot write to its cache ({error}): export MPLCONFIGDIR=FOLDER",
}


class EnvironmentFault(OSError):
    """The machine or the account lacks something; the message says what to do."""


def environment_fault(error: BaseException) -> EnvironmentFault | None:
    """Find out whether an error is none of the code that raised it.

    Args:
        error: The error; those that caused it are looked at as well.

    Returns:
        What is wrong with the environment, and what to do; None if the error is another.
    """
    for cause in _causes(error):
        if isinstance(cause, EnvironmentFault):
            return cause
        text = " ".join(str(cause).split())
        if isinstance(cause, RuntimeError | OSError | ImportError):
            for said, remedy in _SAID.items():
                if said in text:
                    return EnvironmentFault(remedy.format(error=text))
        if isinstance(cause, OSError) and cause.errno in _PLACES:
            for package in _packages(cause):
                if package in _WRITERS:
                    return EnvironmentFault(_WRITERS[package].format(error=text))
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those from which it follows."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


def _packages(error: BaseException) -> set[str]:
    """Return the packages in which an error arose, from the outermost call to the innermost."""
    frames = traceback.walk_tb(error.__traceback__)
    return {str(frame.f_globals.get("__name__")).split(".")[0] for frame, _ in frames}
