import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evenflow.errors import ClaimError, NoResultsError
from evenflow.lab import (
    Prediction,
    Range,
    exact_check,
    judge,
    mean_check,
    paired_check,
    ratio_check,
    share_check,
    share_difference_check,
    steps_check,
)
from evenflow.lab.statistics import adjusted, corrected, log_rank, survival
from evenflow.lab.statistics.interval import interval, p_of_mean
from evenflow.lab.verdict import Check, Verdict

POSITIVE = Prediction("Above zero.", effect=(0, None))
NEAR = Prediction("Near zero.", effect=(-1, 1))


def draws(mean, n=12, seed=0, spread=1.0):
    return np.random.default_rng(seed).normal(mean, spread, n)


@pytest.mark.parametrize(("mean", "word"), [(3.0, "supported"), (-3.0, "refuted"), (0.0, "inconclusive")])
def test_a_mean_is_judged_by_its_interval(mean, word):
    assert mean_check(POSITIVE, "effect", draws(mean), "x").word == word


def test_a_mean_in_an_equivalence_range_is_supported_only_when_it_is_sharp():
    assert mean_check(NEAR, "effect", draws(0.0, spread=0.3), "x").word == "supported"
    assert mean_check(NEAR, "effect", draws(0.0, spread=3.0), "x").word == "inconclusive"


def test_the_interval_of_a_mean_covers_it_about_as_often_as_it_says():
    covered = [low <= 1.0 <= high for low, high in (interval(draws(1.0, 20, seed)) for seed in range(200))]
    assert 0.88 <= np.mean(covered) <= 0.99


def test_p_is_that_of_two_one_sided_t_tests():
    values = draws(0.2, spread=0.5)
    twin = max(
        stats.ttest_1samp(values, -1, alternative="greater").pvalue,
        stats.ttest_1samp(values, 1, alternative="less").pvalue,
    )
    assert p_of_mean(values, Range(-1, 1)) == pytest.approx(twin)
    outside = stats.ttest_1samp(values, 2, alternative="less").pvalue
    assert p_of_mean(values, Range(2, 3)) == pytest.approx(outside)


def test_two_values_are_too_few_for_a_verdict():
    assert mean_check(POSITIVE, "effect", np.array([5.0, 5.1]), "x").word == "inconclusive"


def test_equal_values_are_their_own_interval():
    check = mean_check(POSITIVE, "effect", np.full(5, 2.0), "x")
    assert (check.low, check.high, check.p, check.word) == (2.0, 2.0, 0.0, "supported")
    assert check.size is None
    assert mean_check(POSITIVE, "effect", np.log([0.001, 0.001, 0.001 * (1 + 1e-15)]) + 9, "x").size is None


@pytest.mark.parametrize("bad", [np.array([]), np.array([1.0, np.nan, 2.0]), np.array([1.0, np.inf])])
def test_means_of_what_is_no_number_are_refused(bad):
    with pytest.raises(NoResultsError, match="finite"):
        mean_check(POSITIVE, "effect", bad, "x")


def test_pairing_takes_out_what_the_pairs_share():
    shared = draws(0, 10, seed=1, spread=10)
    first, second = shared + draws(1, 10, seed=2, spread=0.1), shared
    assert paired_check(POSITIVE, "effect", first, second, "x").word == "supported"
    assert mean_check(POSITIVE, "effect", first, "x").word == "inconclusive"


def test_the_standardised_size_is_cohens_d_of_the_differences():
    first, second = draws(1, seed=1), draws(0, seed=2)
    difference = first - second
    check = paired_check(POSITIVE, "effect", first, second, "x")
    assert check.size == pytest.approx(difference.mean() / difference.std(ddof=1))


def test_a_ratio_is_a_geometric_mean_with_its_interval():
    second = np.exp(draws(0, seed=1))
    check = ratio_check(
        Prediction("Double.", r=(1.5, 2.5)), "r", 2 * second * np.exp(draws(0, seed=2) / 50), second, "x"
    )
    assert check.word == "supported"
    assert check.estimate == pytest.approx(2.0, rel=0.05)
    assert check.low < check.estimate < check.high
    assert check.expected == Range(1.5, 2.5)


def test_a_ratio_of_zero_is_refused():
    with pytest.raises(NoResultsError):
        ratio_check(POSITIVE, "effect", np.array([0.0, 1, 1]), np.ones(3), "x")


@pytest.mark.parametrize(
    ("yes", "total", "word"),
    [(10, 10, "supported"), (0, 10, "refuted"), (5, 10, "inconclusive"), (3, 3, "inconclusive")],
)
def test_shares_have_exact_intervals(yes, total, word):
    check = share_check(Prediction("Most.", s=(0.5, 1)), "s", np.arange(total) < yes, "x")
    assert check.word == word
    wanted = stats.binomtest(yes, total).proportion_ci(method="exact")
    assert (check.low, check.high) == (wanted.low, wanted.high)


def test_a_share_of_nothing_is_refused():
    with pytest.raises(NoResultsError):
        share_check(Prediction("Most.", s=(0.5, 1)), "s", np.array([]), "x")


def test_a_difference_of_shares_is_paired():
    one, other = np.ones(12), np.zeros(12)
    more = Prediction("More.", s=(0.3, None))
    assert share_difference_check(more, "s", one, other, "x").word == "supported"
    assert share_difference_check(more, "s", other, one, "x").word == "refuted"
    assert share_difference_check(more, "s", one[:4], other[:4], "x").word == "inconclusive"
    assert share_difference_check(more, "s", one, one, "x").word == "inconclusive"


def test_an_identity_is_refuted_by_one_counterexample():
    small = Prediction("Small.", e=(0, 1e-3))
    assert exact_check(small, "e", np.full(50, 1e-4), "x").word == "supported"
    assert exact_check(small, "e", np.array([*np.full(50, 1e-4), 2e-3]), "x").word == "refuted"
    assert exact_check(small, "e", np.array([1e-4, np.nan]), "x").word == "refuted"
    assert exact_check(small, "e", np.full(50, 1e-4), "x").p is None


def slow_kaplan_meier(steps, limit):
    """The textbook's product, one arrival at a time."""
    share, curve = 1.0, {}
    for now in sorted({s for s in steps if s <= limit}):
        at_risk = sum(s >= now or s > limit for s in steps)
        share *= 1 - sum(s == now for s in steps) / at_risk
        curve[now] = share
    return curve


@given(st.lists(st.one_of(st.integers(1, 30), st.just(math.inf)), min_size=1, max_size=12))
def test_survival_is_the_textbooks_product(steps):
    found = survival(np.array(steps, dtype=float), 20)
    twin = slow_kaplan_meier(steps, 20)
    curve = dict(zip(found.steps, found.share, strict=True))
    assert all(curve[now] == pytest.approx(share) for now, share in twin.items())
    assert (found.arrived, found.total) == (sum(s <= 20 for s in steps), len(steps))


def test_the_median_of_runs_that_mostly_never_arrive_is_never():
    assert survival(np.array([5, np.inf, np.inf]), 10).median == math.inf
    assert survival(np.array([5.0, 6.0, np.inf]), 10).median == 6


def test_log_rank_tells_early_from_late_and_counts_the_censored():
    early, never = np.arange(1.0, 11.0), np.full(10, np.inf)
    assert log_rank(early, never, 20) < 0.001
    assert log_rank(early, early, 20) == pytest.approx(1.0)
    assert log_rank(never, never, 20) == 1.0


def test_runs_that_never_arrive_are_counted_at_the_budget_and_not_dropped():
    slow, fast = np.full(8, np.inf), np.arange(10.0, 18.0)
    check = steps_check(Prediction("Slower.", r=(5, None)), "r", slow, fast, 100, "steps")
    assert check.n == 8
    assert check.estimate == pytest.approx(math.exp(np.log(100 / fast).mean()))
    assert check.word == "supported"


def test_a_budget_in_which_neither_arrives_tells_nothing():
    never = np.full(8, np.inf)
    assert steps_check(Prediction("Slower.", r=(5, None)), "r", never, never, 100, "steps").word == "inconclusive"


@pytest.mark.parametrize(("first", "second", "ends"), [(np.inf, 80.0, (None, 2)), (80.0, np.inf, (0.5, None))])
def test_runs_that_never_arrive_do_not_support_a_bound_on_their_side(first, second, ends):
    steps = np.full(8, first), np.full(8, second) + np.arange(8)
    assert steps_check(Prediction("Alike.", r=ends), "r", *steps, 100, "steps").word == "inconclusive"
    arrived = np.full(8, 90.0), np.full(8, 80.0) + np.arange(8)
    assert steps_check(Prediction("Alike.", r=ends), "r", *arrived, 100, "steps").word == "supported"


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_a_sequence_of_bonferroni_corrections(ps):
    found = adjusted(ps)
    level = 0.05
    # The slow way: reject the smallest at level/m, then the next at level/(m-1), until one is not.
    rejected, order = set(), sorted(range(len(ps)), key=ps.__getitem__)
    for rank, index in enumerate(order):
        if ps[index] * (len(ps) - rank) > level:
            break
        rejected.add(index)
    assert {i for i, p in enumerate(found) if p <= level} == rejected
    assert all(a >= p for a, p in zip(found, ps, strict=True))


def verdict(p, word="supported"):
    low = 1.0 if word == "supported" else -2.0
    return Verdict(word, "", (Check("e", "x", low, low, low + 0.5, Range(low=0), 9, p),))


def test_a_verdict_that_many_claims_make_unclear_is_inconclusive():
    pairs = corrected([verdict(0.02), verdict(0.0001), verdict(None)])
    assert [(v.word, p) for v, p in pairs] == [("supported", 0.02), ("supported", 0.0002), ("supported", None)]
    pairs = corrected([verdict(0.03)] * 3)
    assert [v.word for v, _ in pairs] == ["inconclusive"] * 3
    assert corrected([verdict(None)])[0][0].word == "supported"


def test_what_is_inconclusive_by_itself_costs_the_others_nothing():
    pairs = corrected([verdict(0.03), verdict(0.9, "inconclusive"), verdict(0.8, "inconclusive")])
    assert pairs[0] == (verdict(0.03), 0.03)


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (["supported", "supported"], "supported"),
        (["refuted", "refuted"], "refuted"),
        (["supported", "refuted"], "depends"),
        (["supported", "inconclusive"], "inconclusive"),
        (["refuted", "inconclusive"], "inconclusive"),
    ],
)
def test_the_verdict_follows_from_the_checks(words, word):
    ends = {"supported": (1.0, 2.0), "refuted": (-2.0, -1.0), "inconclusive": (-1.0, 1.0)}
    checks = [Check("e", "x", 0.0, *ends[w], Range(low=0), 9, 0.01) for w in words]
    assert judge(checks, "").word == word


def test_a_clear_interval_without_a_small_p_is_inconclusive():
    assert Check("e", "x", 1.0, 0.5, 1.5, Range(low=0), 3, 0.2).word == "inconclusive"


def test_a_verdict_without_checks_is_refused():
    with pytest.raises(ClaimError):
        judge([], "nothing")


def test_the_p_of_a_verdict_is_its_weakest_check():
    checks = [Check("e", "x", 1.0, 0.5, 1.5, Range(low=0), 3, p) for p in (0.01, None, 0.04)]
    assert judge(checks, "").p == 0.04
