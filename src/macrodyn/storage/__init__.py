"""Stores on disk: NetCDF data sets, models, checkpoints, provenance."""
