"""Snapshots along relaxations as a stage: ages, bits, refusals, keys."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import xarray as xr

from macrodyn.config.load import check_run, make_system
from macrodyn.methods.partial_evolution.chains import shown_record
from macrodyn.methods.partial_evolution.config import ChainConfig
from macrodyn.methods.partial_evolution.run_figures import snapshot_figure
from macrodyn.methods.registry import method_of
from macrodyn.pipeline.canonical import canonical_run
from macrodyn.pipeline.job import save_stage
from macrodyn.sampling import work
from macrodyn.storage.checkpoints import Checkpoints, Interrupted
from macrodyn.targets import load_target

CHAINS = [{"from": 0, "after": [0, 0.3, 1]}, {"from": 3, "after": [0.5, 2]}]
AGES = [0.0, 0.3, 1.0, 3.5, 5.0]


def chained(*chains, **changes):
    return {"upsample": {"chains": list(chains or CHAINS)}, **changes}


def test_results_do_not_depend_on_shards_and_say_their_age(make_plan, sample):
    plan = make_plan(chained(conditions={"temperature": [2.3, 2.8]}, baselines=[]))
    one, many = sample(plan, 1), sample(plan, 3)
    for name in one:
        xr.testing.assert_equal(one[name], many[name])
        assert many[name].site_updates == one[name].site_updates
    large = one["upsample"]
    # 14 groups of 5 ages and 2 snapshots.
    np.testing.assert_array_equal(large.number, np.arange(140))
    np.testing.assert_array_equal(large.time, np.tile(np.repeat(AGES, 2), 14))
    assert large.time.attrs["long_name"] == "age of the snapshot"
    np.testing.assert_array_equal(one["evolve:ours"].time, large.time)
    # From 0: 1, and 0.3 of a sweep besides; from 3: 2.
    assert large.site_updates == pytest.approx(14 * 2 * 720 * (1 + 0.3 + 2))
    assert (large.example_from, large.example_age) == (3.0, 5.0)
    # Of the groups 0, 6 (or 7) and 13 the first snapshot of the last age.
    shown = [large.number.values // 10 == group for group in large.example_number.values]
    for rows, relaxed in zip(shown, large.level_0_relaxed.values, strict=True):
        np.testing.assert_array_equal(large.states.values[rows][8], relaxed)


def test_a_record_and_a_chain_do_not_depend_on_the_others(make_plan, sample):
    everything = sample(make_plan(chained(baselines=[])), 1)["upsample"]
    few = sample(make_plan(chained({"from": 3, "after": [2]}, baselines=[])), 2)["upsample"]
    late = everything.states.values[everything.time.values == 5.0]
    np.testing.assert_array_equal(few.states.values, late)


def test_a_chain_from_zero_needs_no_small_systems_of_that_age(make_plan, sample):
    changes = chained({"from": 0, "after": [0]}, baselines=[])
    found = [
        sample(make_plan({**changes, "simulate": {"times": times}}), 1 + i)["upsample"]
        for i, times in enumerate(([0, 1], [2]))
    ]
    np.testing.assert_array_equal(*(large.states.values for large in found))
    # Fresh states, as many as there are snapshots: means are those of the groups' macrostates.
    m = found[0].states.values.mean(axis=(1, 2, 3), dtype=float)
    deviation = m - found[0].macrostate.values[:, 0]
    assert np.square(deviation).mean() < 4 / 720


def test_equal_sizes_are_relaxed_too(make_plan, sample):
    sizes = {"sizes": {"small": [30, 24], "patch": [10, 6]}, "simulate": {"replicas": 1}}
    run = chained({"from": 3, "after": [0, 1]}, baselines=[], **sizes)
    large = sample(make_plan(run), 1)["upsample"]
    assert not np.array_equal(*(large.states.values[large.time.values == t] for t in (3, 4)))


def test_a_stopped_stage_ends_in_the_same_bits(make_plan, make_job, tmp_path, monkeypatch):
    monkeypatch.setattr(work, "_GROWTH", 1)
    plan = make_plan(chained(conditions={"temperature": [2.3, 2.8]}))

    def make(role, checkpoints=None, shards=3, **inputs):
        options = {"shard": 0, "shards": shards, "checkpoints": checkpoints}
        job = make_job(plan[role], tmp_path, inputs, **options)
        return job, load_target(plan[role].kind.work)(job)

    job, data = make("small", shards=1)
    save_stage(job, data)
    small = job.outputs["data"]
    _, whole = make("snapshots", small=small)
    steps = 0
    for length in (1, 6, 5, 9):
        calls = itertools.count(1)
        stop = Checkpoints(tmp_path / "c", stop=lambda c=calls, n=length: next(c) >= n)
        with pytest.raises(Interrupted, match=rf"step {steps + length} of 25"):
            make("snapshots", stop, small=small)
        steps += length
    _, resumed = make("snapshots", Checkpoints(tmp_path / "c"), small=small)
    xr.testing.assert_identical(resumed, whole)
    _, lost = make("snapshots", Checkpoints(tmp_path / "c", every=0.0), small=small)
    xr.testing.assert_identical(lost, whole)


REFUSED = {
    "no such age": (
        chained({"from": 2, "after": [1]}),
        "upsample.chains.0.from",
        "there are no small snapshots of 2 to begin with: take one of simulate.times (0, 1, 3)",
    ),
    "twice": (
        chained({"from": 3, "after": [1]}, {"from": 3, "after": [2]}),
        "upsample.chains.1.from",
        "another chain begins at 3: put the times of both into one",
    ),
    "no order": (
        chained({"from": 3, "after": [1, 0.5]}),
        "upsample.chains.0.after",
        "must grow from entry to entry",
    ),
    "no end": (
        {"upsample": {"chains": [{"from": 0, "after": [1e9]}], "relaxation": {"sweep": 1e-3}}},
        "upsample.relaxation.sweep",
        "cuts a chain (1e+09) into more than 1,000,000 sweeps",
    ),
    "no memory": (
        {"upsample": {"chains": CHAINS, "snapshots": 10**9}, "baselines": []},
        "upsample.snapshots",
        "the large snapshots would take 25.2 TB",
    ),
}


@pytest.mark.parametrize(("changes", "key", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused(make_run, changes, key, message):
    told = dict(check_run(make_run(changes)))
    assert told.keys() == {key} and message in told[key]


def test_from_zero_needs_no_small_snapshots(make_run):
    changes = chained({"from": 0, "after": [1]}, simulate={"times": [1]})
    assert not list(check_run(make_run(changes)))


def test_levels_between_are_not_relaxed(make_run):
    """A patch need not divide what a chain never makes."""
    sizes = {"small": [20, 12], "large": [80, 48], "patch": [16, 12]}
    assert [key for key, _ in check_run(make_run({"sizes": sizes}))] == ["sizes.patch"]
    assert not list(check_run(make_run(chained(sizes=sizes))))


def test_settings_that_chains_do_not_use_are_told(make_run):
    run = make_run(chained({"from": 3, "after": [1]}, baselines=[]))
    told = list(method_of(run).warnings(run, make_system(run)))
    assert [line.partition(":")[0] for line in told] == [
        "upsample.relaxation.duration is not used",
        "small snapshots of 0, 1 (simulate.times) are not used",
    ]
    plain = make_run()
    assert not list(method_of(plain).warnings(plain, make_system(plain)))


def test_keys_know_what_is_used(make_plan, make_run):
    changes = chained()
    usual = make_plan(changes)
    other = make_plan({"upsample": {**changes["upsample"], "relaxation": {"duration": 7}}})
    assert usual["snapshots"].key == other["snapshots"].key
    assert usual.evaluation.key == other.evaluation.key
    swept = make_plan({"upsample": {**changes["upsample"], "relaxation": {"sweep": 0.25}}})
    assert usual["snapshots"].key != swept["snapshots"].key != make_plan()["snapshots"].key
    # Snapshots of the usual way keep the keys that they had.
    assert "chains" not in make_plan()["snapshots"].config["upsample"]
    run = canonical_run(make_run(changes))
    assert type(run).model_validate(run.model_dump(mode="json")) == run


def test_the_record_shown_is_of_the_middle():
    chains = tuple(ChainConfig.model_validate(chain) for chain in CHAINS)
    assert shown_record(chains) == (1, 1) and shown_record(chains[:1]) == (0, 1)
    assert chains[1].ages == (3.5, 5.0)
    tenths = ChainConfig.model_validate({"from": 0.1, "after": [0.2]})
    assert tenths.ages == (0.3,) != (0.1 + 0.2,)


def test_the_figure_shows_where_a_chain_began_and_what_became_of_it(
    make_plan, sample, make_ising, monkeypatch
):
    data = sample(make_plan(chained(baselines=[])), 1)
    shown = {}
    target = "macrodyn.methods.partial_evolution.run_figures.snapshots"
    monkeypatch.setattr(target, lambda levels, **kwargs: shown.update(levels=levels))
    snapshot_figure(data["simulate"], data["upsample"], data["reference"], make_ising(), "")
    small, level = shown["levels"]
    head = [caption.split("\n")[0] for caption in (*small.captions, *level.captions)]
    assert head == [t and f"$t$ = {t} sweep" for t in ("", 3, "", 3, 5, 1.5)]
