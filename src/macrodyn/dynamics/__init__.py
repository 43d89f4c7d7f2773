"""Drift and diffusion of macroscopic variables: model, likelihood, training, prediction."""

from macrodyn.lazy import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "constraints": ("LinearConstraint",),
        "data": ("TransitionData",),
        "domain": ("Domain",),
        "ensemble": ("Ensemble",),
        "factor": (
            "CovarianceFactor",
            "covariance_factor",
            "estimate_covariance_factor",
            "within_factor",
        ),
        "trajectories": ("integrate",),
        "latent": ("LatentModel", "NeuralSDE"),
        "latents": ("LatentArrays", "latents_dataset"),
        "likelihood": ("partial_log_likelihood", "scatter_log_likelihood"),
        "scalers": ("Scalers",),
        "scaling": ("fit_scalers",),
        "scatter": ("scatter_factor",),
        "settings": ("DynamicsSettings",),
        "train": ("train_ensemble",),
    },
)
