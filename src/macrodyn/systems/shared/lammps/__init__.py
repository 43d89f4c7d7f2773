"""LAMMPS, in a process of its own: an error of LAMMPS may end the process that it runs in."""
