"""Learn the macroscopic dynamics of large microscopic systems from small simulations.

What is called from Python, by what it is for; each is imported when it is first asked for:

- systems: `System`, `PatchSystem`, `ForceSystem`, `Grid`, `Particles`, `Observable`, `Component`,
  `Parameters`, `system_class`, `available_systems`, `lennard_jones_forces`;
- sampling: `Cost`, `simulate_small`, `simulate_reference`, `make_groups`, `upsample_pools`,
  `Relaxation`, `evolve_patches`, `evolve_whole`, `PatchGeometry`, `Tiling`, `seeds`;
- closure: `ClosureSettings`, `train_closure`, `encode_states`, `load_autoencoder`;
- dynamics: `TransitionData`, `DynamicsSettings`, `train_ensemble`, `Ensemble`, `LatentModel`,
  `LinearConstraint`, `integrate`;
- trained models: `load`, `MacroModel`, `ForceModel`, `ModelError`;
- studies: `load_study`, `plan_study`, `study_status`, `read_dataset`;
- methods of one's own: `Method`, `Graph`, `Analysis`, `StageKind`, `Scatter`, `Figure`, `Job`.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from macrodyn.lazy import lazy_names

try:
    __version__ = version("macrodyn")
except PackageNotFoundError:  # imported from a source tree that is not installed
    __version__ = "0+unknown"

__getattr__, _names = lazy_names(
    __name__,
    {
        "systems": (
            "Component",
            "ForceSystem",
            "Grid",
            "Observable",
            "Parameters",
            "Particles",
            "PatchSystem",
            "System",
            "available_systems",
            "system_class",
        ),
        "systems.lennard_jones": ("lennard_jones_forces",),
        "lattice": ("PatchGeometry", "Tiling"),
        "streams": ("seeds",),
        "sampling.cost": ("Cost",),
        "sampling.groups": ("make_groups",),
        "sampling.simulate": ("simulate_reference", "simulate_small"),
        "sampling.upsample": ("upsample_pools",),
        "sampling.relax": ("Relaxation",),
        "sampling.evolve": ("evolve_patches", "evolve_whole"),
        "closure": ("ClosureSettings", "encode_states", "load_autoencoder", "train_closure"),
        "dynamics": (
            "DynamicsSettings",
            "Ensemble",
            "LatentModel",
            "LinearConstraint",
            "TransitionData",
            "integrate",
            "train_ensemble",
        ),
        "model": ("MacroModel", "ModelError"),
        "methods.partial_forces.model": ("ForceModel",),
        "model_files": ("load",),
        "config.load": ("load_study",),
        "pipeline.planner": ("plan_study",),
        "pipeline.monitor.status": ("study_status",),
        "pipeline.kind": ("Figure", "Scatter", "StageKind"),
        "pipeline.job": ("Job",),
        "storage.netcdf": ("read_dataset",),
        "methods.base": ("Analysis", "Graph", "Method"),
    },
)
__all__ = ["__version__", *_names]


def __dir__() -> list[str]:
    return sorted(__all__)
