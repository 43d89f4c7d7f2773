"""What goes wrong with LAMMPS."""

from __future__ import annotations


class LammpsError(RuntimeError):
    """LAMMPS failed, or its process ended; the message shows the end of its log."""


class LammpsMissingError(ImportError):
    """LAMMPS cannot be loaded; the message says how to install it."""
