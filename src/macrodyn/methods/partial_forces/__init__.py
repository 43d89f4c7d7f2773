"""Partial forces: macroscopic dynamics from forces on a part of the coordinates."""
