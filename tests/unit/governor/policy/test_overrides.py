"""G8: of overrides that fit, the last one that sets something counts."""

from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st

from infrafabric_server.governor.policy.models import Breaking, Budgets, Matching, Override, Policy
from tests.unit.governor.policy.kit import loaded

IDS = st.sampled_from(["a", "ab", "b", "render-1", "x:y"])
GLOBS = st.sampled_from(["*", "a*", "?", "render-*", "[ab]", "x:y", "no"])
MONEY = st.integers(0, 9)
MATCHING = st.fixed_dictionaries(
    {},
    optional={
        "metric": st.sampled_from(["jaccard", "coverage"]),
        "min_match": st.sampled_from([0.5, 0.7, 1.0]),
    },
)


@st.composite
def of_tasks(draw: st.DrawFn) -> Override:
    tasks = draw(st.none() | GLOBS)
    capability = draw(GLOBS) if tasks is None else draw(st.none() | GLOBS)
    names = draw(st.sets(st.sampled_from(["default_task_cost_micros", "max_task_cost_micros"])))
    budgets = Budgets.model_validate({name: draw(MONEY) for name in names})
    matching = draw(st.none() | MATCHING.map(Matching.model_validate))
    return Override(tasks=tasks, capability=capability, budgets=budgets, matching=matching)


@st.composite
def of_swarms(draw: st.DrawFn) -> Override:
    names = draw(st.sets(st.sampled_from(["max_consecutive_failures", "min_calls"])))
    breaker = Breaking.model_validate({name: draw(st.integers(1, 9)) for name in names})
    return Override(swarms=draw(GLOBS), breaker=breaker)


@given(st.lists(of_tasks() | of_swarms(), max_size=8), IDS, st.sets(IDS))
def test_g8_the_last_override_that_fits_counts(
    overrides: list[Override], name: str, needs: set[str]
) -> None:
    policy = Policy(overrides=tuple(overrides))
    budgets, breaker = policy.budgets.model_dump(), policy.breaker.model_dump()
    matching = policy.matching.model_dump()
    for each in overrides:
        if each.swarms is not None:
            if fnmatchcase(name, each.swarms):
                breaker |= each.breaker.model_dump(exclude_unset=True) if each.breaker else {}
            continue
        fits = each.tasks is None or fnmatchcase(name, each.tasks)
        wanted = each.capability
        fits = fits and (wanted is None or any(fnmatchcase(n, wanted) for n in needs))
        if fits and each.budgets:
            budgets |= each.budgets.model_dump(exclude_unset=True)
        if fits and each.matching:
            matching |= each.matching.model_dump(exclude_unset=True)
    assert policy.budgets_for(name, needs).model_dump() == budgets
    assert policy.breaker_for(name).model_dump() == breaker
    found = policy.matching_for(name, needs)
    assert found.model_dump() == matching
    assert found.comparison == Matching.model_validate(matching).comparison
    assert policy.matching_for(name, needs) is found, "what it works out is worked out once"
    assert (found == policy.matching) is (found is policy.matching)


def test_g8_a_limit_can_be_lifted_for_some_and_the_default_never_exceeds_it() -> None:
    policy = loaded(
        "budgets: {max_task_cost_micros: 5}\n"
        "overrides:\n- tasks: free-*\n  budgets: {max_task_cost_micros: null}\n"
    ).policy
    assert policy.budgets_for("free-1", ()).max_task_cost_micros is None
    assert policy.budgets_for("free-1", ()).default_micros == 1_000_000
    assert policy.budgets_for("t", ()).default_micros == 5
