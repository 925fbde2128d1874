"""The schedule search on costs and metrics whose best schedule is known, and its log."""

import functools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokmerge_jax.evaluation.schedule_search import Space, neighbours, search, uniform
from tokmerge_jax.evaluation.trial_log import TrialLog
from tokmerge_jax.merging import costs, most, per_layer, schedule
from tokmerge_jax.tasks import schedules
from tokmerge_jax.types import UserError

TOKENS, DEPTH, WIDTH = 96, 4, 32
MOST = most("vid_tldr")


@functools.cache
def cost(r):
    mergers = per_layer("vid_tldr", r)
    layers = costs.vit(mergers, TOKENS, width=WIDTH, heads=2, patch_inputs=48)
    return sum(layer.macs for layer in layers) / 1e6


FULL = cost((0,) * DEPTH)
LEAST = cost((48, 24, 12, 6))
SHARES = st.floats(1.001 * LEAST / FULL, 1.0)


def space(share):
    return Space(DEPTH, TOKENS, cost, share * FULL, MOST)


def within(r, share):
    counts = schedule.token_counts(r, TOKENS)
    halves = all(2 * merged <= left for merged, left in zip(r, counts[:-1], strict=True))
    return halves and cost(r) <= share * FULL


def distance_to(target):
    """A metric whose only optimum is `target`."""
    return lambda r: -float(sum(abs(ours - best) for ours, best in zip(r, target, strict=True)))


def test_a_metric_that_is_no_number_ranks_nothing():
    with pytest.raises(UserError, match=r"the metric of schedule \(\d+, .*\) is nan"):
        search(space(0.7), lambda r: float("nan"), 5)


@pytest.mark.slow
@given(SHARES)
def test_uniform_schedules_are_the_least_within_the_budget(share):
    expected = []
    for layers in range(1, DEPTH + 1):
        capped = (schedule.resolve(r, layers, TOKENS, MOST) for r in range(TOKENS // 2 + 1))
        full = ((*r, *(0,) * (DEPTH - layers)) for r in capped)
        expected.append(next((r for r in full if within(r, share)), None))
    schedules = uniform(space(share))
    assert schedules == list(dict.fromkeys(r for r in expected if r is not None))
    assert schedules


@pytest.mark.slow
@given(SHARES, st.integers(1, 12), st.data())
def test_neighbours_trade_a_step_for_the_least_or_merge_a_step_more(share, step, data):
    r = data.draw(st.sampled_from(uniform(space(share))))
    for other in neighbours(space(share), r, step):
        assert within(other, share)
        more = {i: other[i] - r[i] for i in range(DEPTH) if other[i] > r[i]}
        fewer = {i: r[i] - other[i] for i in range(DEPTH) if other[i] < r[i]}
        assert len(more) <= 1
        if not fewer:
            assert list(more.values()) == [step]
            continue
        assert len(fewer) <= 2  # slack in the budget may let the other layer merge fewer, too
        assert any(less == min(step, r[i]) for i, less in fewer.items())
        for i in more:
            cheaper = ((*other[:i], merged, *other[i + 1 :]) for merged in range(other[i]))
            assert not any(within(less, share) for less in cheaper)


def test_neighbours_of_a_schedule():
    r = (34, 0, 0, 0)
    traded, *more = neighbours(space(cost(r) / FULL), r, 8)
    assert traded[0] == 26
    assert traded[1] > 8  # later layers save less
    assert traded[2:] == (0, 0)
    assert more == [(42, 0, 0, 0), (34, 8, 0, 0)]


@pytest.mark.parametrize(
    "best", [(10, 30, 6, 0), (30, 30, 0, 0), (0, 40, 0, 0), (12, 12, 12, 12), (48, 24, 12, 6)]
)
def test_the_best_schedule_is_found(best):
    ranking = search(space(cost(best) / FULL), distance_to(best), 100)
    assert ranking[0].r == best
    assert ranking[0].saving == -cost(best)


@pytest.mark.slow
@settings(max_examples=30)
@given(SHARES, st.integers(0, 10**6), st.integers(5, 25))
def test_any_metric_at_least_the_uniform_ones_within_the_budget(share, seed, most):
    def metric(r):
        return float(hash((seed, r)) % 7)  # rough, with many ties

    asked = []
    computed = search(space(share), lambda r: asked.append(r) or metric(r), most)
    assert sorted(asked) == sorted(trial.r for trial in computed)  # each once
    assert len(asked) <= most
    assert asked[: len(uniform(space(share)))] == uniform(space(share))
    assert all(within(r, share) for r in asked)
    ranking = [(trial.value, trial.saving) for trial in computed]
    assert ranking == sorted(ranking, reverse=True)
    assert [(metric(t.r), -cost(t.r)) for t in computed] == ranking
    assert search(space(share), metric, most) == computed
    assert set(search(space(share), metric, most + 5)) >= set(computed)  # more goes the same way


def test_no_neighbour_of_the_end_is_better():
    best = search(space(0.6), distance_to((7, 19, 11, 3)), 1000)[0]
    for r in neighbours(space(0.6), best.r, TOKENS // 48):
        assert distance_to((7, 19, 11, 3))(r) <= best.value


def test_other_starts_count_if_the_budget_allows_them():
    own, dear = (20, 0, 30, 0), (1, 0, 0, 0)
    asked = []
    ranking = search(space(0.8), lambda r: asked.append(r) or float(r == own), 5, [dear, own])
    assert dear not in asked
    assert ranking[0].r == own


def test_of_equal_metrics_the_cheaper_is_first():
    costs = [cost(trial.r) for trial in search(space(0.7), lambda r: 1.0, 40)]
    assert costs == sorted(costs)
    assert costs[0] < costs[-1]


def test_a_configuration_over_the_budget_is_reported(capsys):
    schedules._report_dear((20, 0, 30, 0), space(0.8))
    assert capsys.readouterr().err == ""
    schedules._report_dear((1, 0, 0, 0), space(0.8))
    assert capsys.readouterr().err == "r=(1,) of the configuration is over the budget: left out\n"


def test_budgets_at_both_ends():
    assert search(space(0.99 * LEAST / FULL), lambda r: 1.0, 5) == []
    assert search(space(LEAST / FULL), lambda r: 1.0, 5)[0].r == (48, 24, 12, 6)
    assert uniform(space(1.0)) == [(0, 0, 0, 0)]
    assert search(space(1.0), lambda r: -float(sum(r)), 5)[0].r == (0, 0, 0, 0)


METRIC = distance_to((10, 30, 6, 0))


def logged(path, facts="a", metric=METRIC, left_out=""):
    """What a search finds whose trials a log keeps, and the schedules that it evaluated."""
    log, evaluated = TrialLog(path, facts), []

    def evaluate(r):
        if r not in log:
            evaluated.append(r)
            log.add(r, gmac=1.0, metric="R@1", value=metric(r), left_out=[*left_out])
        return log[r]["value"]

    return search(space(0.6), evaluate, 20), evaluated


def test_a_search_that_was_killed_goes_on_to_the_same_end(tmp_path):
    path = tmp_path / "trials.jsonl"
    computed, evaluated = logged(path)
    assert computed == search(space(0.6), METRIC, 20)
    content = path.read_bytes()
    for cut in range(0, len(content), 97):
        path.write_bytes(content[:cut])
        again, rest = logged(path)
        assert again == computed
        assert rest == evaluated[content[:cut].count(b"\n") :]
        assert path.read_bytes() == content
    assert logged(path) == (computed, [])


def test_other_facts_are_evaluated_anew_and_kept_beside(tmp_path):
    path = tmp_path / "trials.jsonl"
    computed, evaluated = logged(path, "a")
    other, again = logged(path, "b", lambda r: -METRIC(r))
    assert again[0] == evaluated[0]
    assert other != computed
    assert logged(path, "a") == (computed, [])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["facts"] for line in lines] == ["a"] * len(evaluated) + ["b"] * len(again)


def test_trials_of_other_videos_are_not_compared_but_evaluated_again(tmp_path):
    """Trials that left out other videos are kept, but only those of the same ones are compared."""
    path = tmp_path / "trials.jsonl"
    whole, evaluated = logged(path)
    content = path.read_text().splitlines(keepends=True)
    path.write_text("".join(content[:3]))
    said = r"trials\.jsonl: this trial left out other videos \(a, b\) than earlier ones \(none\)"
    metric = lambda r: METRIC(r) - 1  # noqa: E731
    with pytest.raises(UserError, match=said):
        logged(path, metric=metric, left_out="ab")
    assert len(path.read_text().splitlines()) == 4  # what was evaluated is kept
    fewer, again = logged(path, metric=metric, left_out="ab")
    assert again == evaluated[:3] + evaluated[4:]
    assert [trial.value + 1 for trial in fewer] == [trial.value for trial in whole]
    assert logged(path, left_out="ab") == (fewer, [])
    path.write_text("".join([*path.read_text().splitlines(keepends=True), content[3]]))
    assert logged(path) == (whole, evaluated[4:])  # the first trials are known, and this one


def test_of_many_videos_left_out_a_few_are_named(tmp_path):
    path = tmp_path / "trials.jsonl"
    path.write_text(json.dumps({**WHOLE, "left_out": [*"abcde"]}) + "\n")
    with pytest.raises(UserError, match=r"videos \(none\) than earlier ones \(a, b, c, 2 more\)"):
        TrialLog(path, "a").add((2,), gmac=1.0, metric="R@1", value=1.0, left_out=[])


WHOLE = {"r": [1], "gmac": 1.0, "metric": "R@1", "value": 2.0, "left_out": [], "facts": "a"}


@pytest.mark.parametrize(
    "line",
    [
        *("no JSON", "[1, 2]", '{"facts": "a"}', "7", "\xff", "[" * 60_000),
        json.dumps({**WHOLE, "value": "2"}),
        json.dumps({**WHOLE, "r": [1.5]}),
        json.dumps({**WHOLE, "left_out": [1]}),
        *(
            json.dumps({k: v for k, v in WHOLE.items() if k != key})
            for key in ("metric", "left_out")
        ),
    ],
)
def test_a_log_that_is_not_ours_is_told(line, tmp_path):
    path = tmp_path / "trials.jsonl"
    path.write_text(json.dumps(WHOLE) + "\n")
    assert (1,) in TrialLog(path, "a")
    path.write_text(line + "\n", "latin1")
    with pytest.raises(UserError, match=r"trials\.jsonl is not a log of schedules, or is dam"):
        TrialLog(path, "a")
