"""Closure variables: what the given observables leave out of the macroscopic state."""

from macrodyn.lazy import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "autoencoder": ("Autoencoder",),
        "coordinates": ("CoordinateClosureSettings", "find_closure"),
        "encoders": (
            "Descriptors",
            "Modes",
            "Network",
            "load_encoder",
            "principal_descriptors",
            "principal_modes",
        ),
        "layers": ("ENCODER_KINDS", "Architecture", "EncoderKind"),
        "model": ("PatchAutoencoder", "load_autoencoder", "save_autoencoder"),
        "reconstruction": ("reconstruction_loss",),
        "settings": ("ClosureSettings",),
        "snapshots": ("encode_states",),
        "train": ("reconstruction_error", "train_closure"),
    },
)
