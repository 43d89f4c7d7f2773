"""Sampling: trajectories, upsampling, relaxation, evolution. Physics-free."""
