"""Closure variables: what the given observables leave out of the macroscopic state."""

from __future__ import annotations

from macrodyn.closure.autoencoder import Autoencoder
from macrodyn.closure.layers import ENCODER_KINDS, Architecture, EncoderKind
from macrodyn.closure.model import PatchAutoencoder, load_autoencoder, save_autoencoder
from macrodyn.closure.reconstruction import reconstruction_loss
from macrodyn.closure.settings import ClosureSettings, History
from macrodyn.closure.train import reconstruction_error, split_groups, train_closure

__all__ = [
    "ENCODER_KINDS",
    "Architecture",
    "Autoencoder",
    "ClosureSettings",
    "EncoderKind",
    "History",
    "PatchAutoencoder",
    "load_autoencoder",
    "reconstruction_error",
    "reconstruction_loss",
    "save_autoencoder",
    "split_groups",
    "train_closure",
]
