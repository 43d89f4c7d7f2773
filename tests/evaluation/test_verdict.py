"""Verdicts on made-up metrics: every branch, missing and null numbers included."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from macrodyn.evaluation.verdict import Verdict, judge

EXACT = {"mean": 1e-4, "mean_q05": 5e-5, "mean_q95": 2e-4}
EXACT |= {"spread": 1e-3, "spread_q05": 5e-4, "spread_q95": 2e-3}


def metrics() -> dict[str, Any]:
    """A run that is as good as an exact model in everything."""
    ours = {
        "test_error": {"mean": 1.5e-4, "members": [1e-4, 1.5e-4, 2e-4]},
        "spread_error": {"mean": 1e-3},
        "equilibrium": {"m": {"reference_std": 0.1, "prediction_std": 0.101}},
        "range": {"outside": 0.001, "initial_outside": 0.0},
    }
    naive = {"test_error": {"mean": 1.5e-2}, "spread_error": {"mean": 4.0}}
    return {
        "horizons": {"short": {"ours": ours, "naive": naive, "sampling_error": dict(EXACT)}},
        "covariance_factor": {"ours": {"used": 6.0, "estimated": 5.5, "standard_error": 0.3}},
        "closure": {"best_loss": 0.1, "origin_share": [0.02, 0.05]},
        "residual_by_age": {"ours": {"chi2_per_degree": {"m": 1.2, "rho": 0.9}}},
        "conditions_outside": {},
        "relaxation": {"durations": [2.0, 4.0, 8.0], "enough": 2.0},
        "config": {"upsample": {"chains": [{"from": 1}]}},
        "unavailable": {},
    }


def changed(path: str, value: Any) -> dict[str, Any]:
    """Change one number of the good run; '' removes it."""
    content = metrics()
    *parents, last = path.split(".")
    place = content
    for key in parents:
        place = place[key]
    if value == "":
        del place[last]
    else:
        place[last] = value
    return content


def finding(verdict: Verdict, subject: str):
    (found,) = [one for one in verdict.findings if one.subject == subject]
    return found


def keys(verdict: Verdict) -> list[str]:
    return [advice.key for advice in verdict.advice]


def test_a_run_that_is_as_good_as_an_exact_model():
    verdict = judge(metrics())
    assert verdict.level == "good" and not verdict.advice
    assert {one.level for one in verdict.findings} == {"good"}
    assert verdict.headline == (
        "As good as an exact model: mean trajectories are off by 1.2 % of their size (test error "
        "1.5e-04, 1.5 times an exact model's score of 1.0e-04)."
    )
    assert [one.subject for one in verdict.findings] == [
        "error", "naive", "spread", "range", "members", "residual by age", "relaxation",
    ]  # fmt: skip


def test_beyond_what_chance_gives_an_exact_model_a_run_is_nearly_as_good():
    high = metrics()["horizons"]["short"]["sampling_error"]["mean_q95"]
    for error, told in ((0.99 * high, "As good as"), (1.01 * high, "Nearly as good as")):
        found = finding(judge(changed(ERROR, error)), "error")
        assert found.level == "good" and found.text.startswith(f"{told} an exact model")


ERROR = "horizons.short.ours.test_error.mean"
SPREAD = "horizons.short.ours.spread_error.mean"
NAIVE = "horizons.short.naive.test_error.mean"
RANGE = "horizons.short.ours.range"
MEMBERS = "horizons.short.ours.test_error.members"
CHI2 = "residual_by_age.ours.chi2_per_degree"
FACTOR = "covariance_factor.ours.estimated"
RATES = "covariance_ratio"
ORIGINS = "closure.origin_share"


@pytest.mark.parametrize(
    ("path", "value", "subject", "level", "said", "advice"),
    [
        pytest.param(
            RATES, {"m": {"ratio": 1.02, "standard_error": 0.01}}, "covariance", "good",
            "is 1.02 times what the rates say (m).", [], id="covariance-good",
        ),
        pytest.param(
            RATES,
            {
                "m": {"ratio": 1.0, "standard_error": 0.01},
                "rho": {"ratio": 0.85, "standard_error": 0.01},
            },
            "covariance", "fair", "0.85 times what the rates say (rho), beyond chance",
            ["dynamics.covariance_from", "evolve.dt"], id="covariance-fair",
        ),
        pytest.param(
            RATES, {"m": {"ratio": 1.5, "standard_error": 0.05}}, "covariance", "poor", "1.5 times",
            ["dynamics.covariance_from", "evolve.dt"], id="covariance-poor",
        ),
        pytest.param(
            RATES, {"m": {"ratio": 1.5, "standard_error": 0.2}}, "covariance", "good", "1.5 times",
            [], id="covariance-unclear",
        ),
        pytest.param(ERROR, 2.9e-4, "error", "good", "2.9 times", [], id="error-good"),
        pytest.param(
            ERROR, 9e-4, "error", "fair", "Close to direct simulation",
            ["upsample.snapshots", "evolve.patches"], id="error-fair-as-small-in-itself",
        ),
        pytest.param(
            ERROR, 0.04, "error", "poor", "off by 20 % of their size (test error 4.0e-02, 400",
            ["upsample.snapshots", "evolve.patches"], id="error-poor",
        ),
        pytest.param(
            ERROR, "diverged", "error", "poor", "The prediction diverged.",
            ["evaluate.horizons.short.step", "closure.dimension"], id="error-diverged",
        ),
        pytest.param(ERROR, None, "error", "unknown", "error is unknown", [], id="error-null"),
        pytest.param(
            "horizons.short.sampling_error", {}, "error", "unknown", "Not judged: mean", [],
            id="exact-missing",
        ),
        pytest.param(NAIVE, 3e-4, "naive", "good", "has 2 times the error", [], id="naive-worse"),
        pytest.param(
            NAIVE, "diverged", "naive", "good", "one, diverged", [], id="naive-diverged"
        ),
        pytest.param(
            NAIVE, 2e-4, "naive", "good",
            "does as well for the mean. Its spread is off by 200 %, against 3.2 % here.", [],
            id="naive-as-well-in-the-mean",
        ),
        pytest.param(
            NAIVE, 1e-5, "naive", "fair", "does better, by 15 times, for the mean", [],
            id="naive-better-in-the-mean",
        ),
        pytest.param(
            "horizons.short.naive", {"test_error": {"mean": 2e-4}, "spread_error": {"mean": 1e-3}},
            "naive", "fair", "does as well for the mean.", ["sizes.small"], id="naive-as-well",
        ),
        pytest.param(
            "horizons.short.naive", "", "naive", "unknown", "it was not run", ["baselines"],
            id="naive-not-run",
        ),
        pytest.param(NAIVE, None, "naive", "unknown", "error is unknown", [], id="naive-null"),
        pytest.param(SPREAD, 9e-3, "spread", "good", "off by 9.5 % (an exact model: 3.2 %)", [],
                     id="spread-good"),
        pytest.param(
            SPREAD, 0.04, "spread", "fair", "off by 20 %",
            ["dynamics.covariance_factor", "evolve.dt"], id="spread-fair",
        ),
        pytest.param(
            SPREAD, 4.0, "spread", "poor", "off by 200 %",
            ["dynamics.covariance_factor", "evolve.dt"], id="spread-poor",
        ),
        pytest.param(SPREAD, "diverged", "spread", "poor", "diverged", [], id="spread-diverged"),
        pytest.param(SPREAD, None, "spread", "unknown", "spread is unknown", [], id="spread-null"),
        pytest.param(
            RANGE, {"outside": 0.05, "initial_outside": 0.0}, "range", "fair",
            "5 % of the prediction lies outside of the training data's range: there",
            ["simulate.times"], id="range-fair",
        ),
        pytest.param(
            RANGE, {"outside": 0.0, "initial_outside": 0.3}, "range", "poor",
            "and 30 % of the initial states", ["simulate.initial_range", "simulate.times"],
            id="range-poor",
        ),
        pytest.param(RANGE, "", "range", "unknown", "is unknown", [], id="range-missing"),
        pytest.param(
            MEMBERS, [1e-4, 1e-4, 4e-4], "members", "fair", "the worst has 4 times the median",
            ["dynamics.steps", "dynamics.members"], id="members-fair",
        ),
        pytest.param(
            MEMBERS, [1e-4, 1e-4, 2e-3], "members", "poor", "the worst has 20 times the median",
            ["dynamics.steps", "dynamics.members"], id="members-poor",
        ),
        pytest.param(
            MEMBERS, [1e-4, 1e-4, "diverged"], "members", "poor", "1 of 3 members diverged",
            ["dynamics.steps", "dynamics.members"], id="member-diverged",
        ),
        pytest.param(
            MEMBERS, [1e-6, 1e-6, 1e-4], "members", "good", "agree", [],
            id="members-below-what-can-be-told",
        ),
        pytest.param(
            CHI2, {"m": 1.0, "rho": 2.6}, "residual by age", "fair", "2.6 per degree",
            ["upsample.relaxation.duration", "evolve.dt", "evolve.buffer", "closure.dimension"],
            id="residual-fair",
        ),
        pytest.param(
            CHI2, {"m": 13.5, "rho": None}, "residual by age", "poor", "(m)",
            ["upsample.relaxation.duration", "evolve.dt", "evolve.buffer", "closure.dimension"],
            id="residual-poor",
        ),
        pytest.param("residual_by_age", "", "residual by age", "unknown", "unknown", [],
                     id="residual-missing"),
        pytest.param(CHI2, {"m": None}, "residual by age", "unknown", "unknown", [],
                     id="residual-null"),
        pytest.param("relaxation.enough", 4.0, "relaxation", "fair", "relaxed for less than 4 have",
                     ["upsample.chains"], id="relaxed-too-short"),
        pytest.param("relaxation.enough", None, "relaxation", "fair", "longest, for 8: they keep",
                     ["upsample.chains"], id="all-relaxed-too-short"),
        pytest.param(
            FACTOR, 3.0, "covariance factor", "fair", "6, is not that of the data, 3 ± 0.3",
            ["dynamics.covariance_factor"], id="factor",
        ),
        pytest.param(
            ORIGINS, [0.19, 1.03], "closure variables", "poor", "100 % of the variance of closure "
            "variable 1", ["closure.encoder"], id="origin-poor",
        ),
        pytest.param(
            ORIGINS, [0.19, None], "closure variables", "fair", "19 % of the variance of closure "
            "variable 0", ["closure.encoder"], id="origin-fair",
        ),
        pytest.param(
            "conditions_outside", {"temperature": {"value": 3.0, "low": 2.0, "high": 2.5}},
            "conditions", "poor", "= 3.0, outside of the sampled values from 2.0 to 2.5",
            ["conditions.temperature"], id="condition-outside",
        ),
    ],
)  # fmt: skip
def test_each_number_is_judged(path, value, subject, level, said, advice):
    verdict = judge(changed(path, value))
    found = finding(verdict, subject)
    assert found.level == level and said in found.text
    assert keys(verdict) == advice
    # Nothing else is judged otherwise than in the good run, but what it is compared with.
    others = [one for one in verdict.findings if one.subject != subject]
    if path not in (ERROR, "horizons.short.sampling_error"):
        assert {one.level for one in others} == {"good"}


@pytest.mark.parametrize(
    ("error", "level"), [(0.03, "unknown"), (0.9, "poor")], ids=["noise", "far-off-all-the-same"]
)
def test_a_reference_that_is_too_small_to_judge_by(error, level):
    content = changed(ERROR, error)
    content["horizons"]["short"]["sampling_error"] |= {"mean": 0.025, "mean_q95": 0.05}
    verdict = judge(content)
    assert verdict.level == verdict.findings[0].level == level
    assert "an exact model would be off by 16 %" in verdict.headline
    assert keys(verdict)[0] == "evaluate.replicas"


@pytest.mark.parametrize(
    ("error", "level"), [(0.008, "fair"), (0.02, "poor")], ids=["off-by-9-percent", "by-14-percent"]
)
def test_an_error_that_is_large_in_itself_is_poor(error, level):
    """Both are less than 30 times an exact model's score."""
    content = changed(ERROR, error)
    content["horizons"]["short"]["sampling_error"] |= {"mean": 0.001, "mean_q95": 0.002}
    found = finding(judge(content), "error")
    assert found.level == level
    assert [one.key for one in found.advice] == ["upsample.snapshots", "evolve.patches"]


def test_the_spread_says_where_it_is_wide_and_where_narrow():
    content = changed(SPREAD, 0.09)
    content["horizons"]["short"]["ours"]["equilibrium"] = {
        "mean_spin": {"reference_std": 0.1, "prediction_std": 0.13},
        "rho": {"reference_std": 0.1, "prediction_std": 0.06},
        "zero": {"reference_std": 0.0, "prediction_std": 0.06},
        "lost": {"reference_std": 0.1, "prediction_std": None},
        "none": None,
    }
    text = finding(judge(content), "spread").text
    assert text.endswith("; at late times: mean spin wide by 30 %, rho narrow by 40 %.")


def test_a_factor_within_its_errors_is_no_finding():
    content = changed(FACTOR, 4.5)
    content["covariance_factor"]["ours"]["standard_error"] = 0.6
    assert "covariance factor" not in {one.subject for one in judge(content).findings}


def test_the_headline_names_what_else_is_poor():
    content = changed(SPREAD, 4.0)
    content["residual_by_age"]["ours"]["chi2_per_degree"]["m"] = 9.0
    verdict = judge(content)
    assert verdict.level == "poor"
    assert verdict.headline.endswith("Poor: spread, residual by age.")
    # Of keys that are named twice, the first reason stays.
    assert len(keys(verdict)) == len(set(keys(verdict)))


def test_horizons_are_named_where_there_are_several():
    content = metrics()
    content["horizons"]["long"] = copy.deepcopy(content["horizons"]["short"])
    content["horizons"]["long"]["ours"]["test_error"]["mean"] = 0.5
    verdict = judge(content)
    assert verdict.headline.startswith("Far from direct simulation: mean trajectories on the")
    assert "horizon long" in verdict.headline
    assert finding(verdict, "error (short)").level == "good"
    assert finding(verdict, "members (long)").level == "good"


def test_the_reason_why_a_number_is_missing_is_said():
    content = changed("horizons.short.ours.spread_error", None)
    content["unavailable"] = {"horizons.short.ours.spread_error": "the reference never varies."}
    text = finding(judge(content), "spread").text
    assert text == "The spread is unknown: the reference never varies."


def test_a_reason_may_be_that_of_a_part():
    content = changed(CHI2, {"m": None, "rho": None})
    content["unavailable"] = {f"{CHI2}.m": "raise simulate.groups", "markov": "another"}
    text = finding(judge(content), "residual by age").text
    assert text.endswith("by snapshot age is unknown: raise simulate.groups.")


@pytest.mark.parametrize("content", [{}, {"horizons": {}}, {"horizons": None}], ids=repr)
def test_nothing_at_all(content):
    verdict = judge(content)
    assert verdict.level == "unknown" and verdict.headline.startswith("Nothing was compared")


def paths(content: Any, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every path of keys into nested mappings."""
    if not isinstance(content, dict):
        return []
    own = [(*before, key) for key in content]
    return own + [path for key, value in content.items() for path in paths(value, (*before, key))]


@pytest.mark.parametrize("path", paths(metrics()), ids=".".join)
@pytest.mark.parametrize("value", ["", None], ids=["missing", "null"])
def test_anything_may_be_missing_or_null(path, value):
    verdict = judge(changed(".".join(path), value))
    assert verdict.headline and verdict.level in ("good", "unknown", "fair")
    assert "nan" not in verdict.headline and "None" not in verdict.headline


def left(late: list[int], drifts: list[int]) -> dict[str, Any]:
    """The good run, with members that leave the others by one or the other."""
    content = metrics()
    ours = content["horizons"]["short"]["ours"]
    ours["members"] = {
        "late": {"outliers": late},
        "outliers": sorted({*late, *drifts}),
        "kept": 3 - len({*late, *drifts}),
        "test_error": 1.2e-4,
    }
    ours["mean_model"] = {"test_error": 1.1e-4}
    content["members"] = {
        "ours": {
            "outliers": drifts,
            "distance": [1.0, 2.0, 40.0],
            "at": [{"m": 0.1}, {"m": 0.2}, {"m": -0.55}],
        }
    }
    return content


def test_members_that_leave_the_others_are_named_with_both_errors():
    verdict = judge(left(late=[1], drifts=[2]))
    found = finding(verdict, "members that left")
    assert found.level == verdict.level == "poor" and "members that left" in verdict.headline
    assert "member 1 by where its trajectories end" in found.text
    assert "member 2 by its drift near m = -0.55 (40 times the others' scatter)" in found.text
    assert "The mean error is 1.5e-04 with them, 1.2e-04 over the 1 others." in found.text


def test_members_that_stay_are_not_spoken_of():
    verdict = judge(left(late=[], drifts=[]))
    assert verdict.level == "good"
    assert not [one for one in verdict.findings if one.subject == "members that left"]
    assert "the mean model's error is 1.1e-04" in finding(verdict, "members").text


@pytest.mark.parametrize(("error", "said"), [(2.9e-4, False), (3.1e-4, True)])
def test_verdict_says_when_an_error_is_above_three_exact_scores(error, said):
    text = finding(judge(changed(ERROR, error)), "error").text
    assert "an exact model's score of 1.0e-04" in text
    assert ("above 3 times" in text) == said


@pytest.mark.parametrize(
    ("enough", "key"),
    [(4.0, "upsample.relaxation.up_to_age"), (None, "upsample.relaxation.duration")],
)
def test_what_to_change_of_the_relaxation_of_tiles(enough, key):
    content = changed("relaxation.enough", enough)
    content["config"] = {"upsample": {"chains": []}}
    assert keys(judge(content)) == [key]
    content["relaxation"] = None
    assert all(found.subject != "relaxation" for found in judge(content).findings)


def alone() -> dict[str, Any]:
    """The good run without a reference, compared at its small size."""
    content = metrics()
    (case,) = content["horizons"].values()
    content["horizons"] = {"short-size-8x8": case}
    content["checked"] = {"short-size-8x8": [8, 8]}
    content["config"]["sizes"] = {"small": [8, 8], "large": [64, 64]}
    ours = {
        "agreement": {"mean": 2e-5, "members": [2e-5, 2e-5], "chance": 1e-5},
        "range": {"outside": 0.001, "initial_outside": 0.0},
        "members": {"outliers": [], "late": {"outliers": []}},
    }
    polynomial = {"difference": {"mean": 4e-5, "spread": 1e-4, "chance": 1e-5}}
    content["predicted"] = {"short": {"ours": ours, "polynomial": polynomial}}
    content["markov"] = {"m": {"drift": {"1": 0.0, "2": 0.02}, "diffusion": {"1": 0.0, "2": 0.04}}}
    return content


def alone_but(path: str, value: Any) -> dict[str, Any]:
    content = alone()
    *parents, last = path.split("/")
    place = content
    for key in parents:
        place = place[key]
    place[last] = value
    return content


def test_without_a_reference_the_verdict_says_what_it_rests_on():
    verdict = judge(alone())
    assert verdict.level == "good"
    assert verdict.headline == (
        "There is no reference: the large system was not simulated. This verdict rests on direct "
        "simulation at 8x8, and what needs none: range, agreement of the members, agreement with "
        "polynomial, Markov test, residual by age, relaxation, covariance factor. As good as an "
        "exact model: mean trajectories on the horizon short-size-8x8 are off by 1.2 % of their "
        "size (test error 1.5e-04, 1.5 times an exact model's score of 1.0e-04)."
    )
    # The small system is no approximation of itself.
    assert not [one for one in verdict.findings if one.subject.startswith("naive")]
    larger = judge(alone_but("checked/short-size-8x8", [16, 16]))
    assert finding(larger, "naive (short-size-8x8)").level == "good"


PREDICTED = "predicted/short/ours"


@pytest.mark.parametrize(
    ("path", "value", "subject", "level", "said"),
    [
        pytest.param(
            f"{PREDICTED}/agreement", {"mean": 5e-3, "chance": 1e-5},
            "agreement of the members (short)", "fair", "disagree on the horizon short",
            id="members-fair",
        ),
        pytest.param(
            f"{PREDICTED}/agreement", {"mean": 5e-2, "chance": 1e-5},
            "agreement of the members (short)", "poor", "22 % of its size", id="members-poor",
        ),
        pytest.param(
            f"{PREDICTED}/agreement", {"mean": 5e-2, "chance": 2e-2},
            "agreement of the members (short)", "good", "by chance 14 %", id="members-by-chance",
        ),
        pytest.param(
            f"{PREDICTED}/agreement", {"mean": "diverged", "chance": 1e-5},
            "agreement of the members (short)", "poor", "diverged", id="members-diverged",
        ),
        pytest.param(
            f"{PREDICTED}/agreement", None, "agreement of the members (short)", "unknown",
            "is unknown", id="one-member",
        ),
        pytest.param(
            f"{PREDICTED}/range", {"outside": 0.3, "initial_outside": 0.0}, "range (short)",
            "poor", "the model is a guess", id="range",
        ),
        pytest.param(
            "predicted/short/polynomial/difference", {"mean": 5e-3, "chance": 1e-5},
            "agreement with polynomial (short)", "fair", "Polynomials predict something else",
            id="polynomial",
        ),
        pytest.param(
            "predicted/short/polynomial/difference", {"mean": "diverged", "chance": 1e-5},
            "agreement with polynomial (short)", "fair", "they diverge", id="polynomial-diverged",
        ),
        pytest.param(
            "markov/m/drift/2", 0.3, "Markov test", "unknown",
            "Over 2 dt the drift of m is off by 30 % of that over dt, beyond noise: memory does so",
            id="markov",
        ),
        pytest.param("markov", None, "Markov test", "unknown", "is unknown", id="no-markov"),
        pytest.param(
            "markov/m", {"drift": {"1": 0.0}, "diffusion": {"1": 0.0}}, "Markov test", "unknown",
            "no second lag", id="one-lag",
        ),
        pytest.param(
            "horizons/short-size-8x8/ours/range", {"outside": 0.2, "initial_outside": 0.0},
            "range (short-size-8x8)", "unknown", "a small system fluctuates more",
            id="small-range",
        ),
    ],
)  # fmt: skip
def test_findings_without_a_reference(path, value, subject, level, said):
    verdict = judge(alone_but(path, value))
    found = finding(verdict, subject)
    assert found.level == level and said in found.text
    assert verdict.level == ("good" if level == "unknown" else level)


def test_compared_with_nothing_a_run_is_at_best_not_judged():
    content = alone() | {"horizons": {}, "checked": {}}
    verdict = judge(content)
    assert verdict.level == "unknown"
    assert "rests on no simulation, but what needs none: range" in verdict.headline
    assert verdict.headline.endswith("Nothing was compared with direct simulation.")
    assert keys(verdict)[0] == "evaluate.sizes"
    content[PREDICTED.split("/")[0]]["short"]["ours"]["range"]["outside"] = 0.5
    verdict = judge(content)
    assert verdict.level == "poor" and verdict.headline.endswith("Poor: range.")
