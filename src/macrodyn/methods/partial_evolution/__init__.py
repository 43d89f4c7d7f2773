"""Partial evolution (arXiv:2511.12842): patches of snapshots evolved, their surroundings frozen."""
