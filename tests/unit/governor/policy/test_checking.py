"""G8: a policy is checked as a whole, and each problem says where it is and what would be right."""

import time

import pytest

from infrafabric_server.governor.policy.document import MAX_BYTES
from tests.unit.governor.policy.kit import loaded, problems, with_rule

ANY_MATCH = "overrides[0].matching.min_match"
OF_TASKS = "overrides[0].tasks"
LAYERS = "chassis.required_layers"
FILLER = "cases[0].task.filler"
TASK_ID = "cases[0].task.id"
DEEP = "matching: " + "[" * 50_000
WIDE = "overrides: [" + "1," * 30_000 + "1]"
DEAR = "cases:\n- name: dear\n  task: {max_cost_micros: 6}\n  expect: allow"
BOMB = "a: &a [1]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(20))


@pytest.mark.parametrize(
    ("text", "path", "line", "told"),
    [
        (
            "budgets:\n  max_task_cost_micros: 1.5",
            "budgets.max_task_cost_micros",
            2,
            "must be a whole number",
        ),
        (
            "budgets:\n  max_task_cost_micros: $1.50",
            "budgets.max_task_cost_micros",
            2,
            "must be a whole number",
        ),
        (
            "budgets:\n  max_task_cost_micros: true",
            "budgets.max_task_cost_micros",
            2,
            "must be a whole number",
        ),
        (
            "matching:\n\n  min_match: '0.7'",
            "matching.min_match",
            3,
            "must be a number, and is '0.7'",
        ),
        ("matching:\n  min_match: .nan", "matching.min_match", 2, "must be at most 1, and is nan"),
        ("matching:\n  min_match: 0", "matching.min_match", 2, "must be above 0, and is 0"),
        (
            "matching: {metric: cosine}",
            "matching.metric",
            1,
            "must be jaccard or coverage, and is 'cosine'",
        ),
        (
            "breaker:\n  slow_after: 30",
            "breaker.slow_after",
            2,
            "such as 30s, 5m or 1h30m, and is 30",
        ),
        ("breaker:\n  slow_after: 5m 30s", "breaker.slow_after", 2, "such as 30s"),
        ("breaker:\n  slow_after: ''", "breaker.slow_after", 2, "such as 30s"),
        ("breaker:\n  window: 31d", "breaker.window", 2, "must be 1s to 30d, and is '31d'"),
        ("breaker:", "breaker", 1, "must be a mapping of names to values, and is null"),
        ("budget: {}", "budget", 1, "known are matching, budgets, breaker"),
        ("budgets:\n  max: 1", "budgets.max", 2, "known are default_task_cost_micros"),
        ("<<: {b: 1}", "<<", 1, "not known here"),
        ("matching: {}\nbudgets: {}\nmatching: {}", "matching", 3, "is given twice"),
        ("1: {}", "1", 1, "not known here"),
        ("? [a]\n: 1", "", 1, "keys must be names"),
        ("- 1", "", 1, "must be a mapping"),
        ("matching: {}\n---\nbudgets: {}", "", 2, "not YAML"),
        ("matching: [", "", 1, "not YAML"),
        ("matching: \x07", "", 0, "not YAML"),
        (b"matching: \xff", "", 0, "must be UTF-8"),
        ("rules: !!python/name:os.system x", "rules", 1, "tags are not taken"),
        (BOMB, "", 2, "aliases are not taken"),
        (DEEP, "", 1, "nested at most 16 deep"),
        (WIDE, "", 1, "at most 20000 values"),
        (f"help: {{offer_for: 1{':59' * 80_000}}}", "help.offer_for", 1, "is no value"),
        (f"slo: {{window: 0x{'f' * 5_000}}}", "slo.window", 1, "'0xffff"),
        (f"slo: {{success_rate: 1{':59' * 300}.5}}", "slo.success_rate", 1, "is no value"),
        (b"#" * (MAX_BYTES + 1), "", 0, f"at most {MAX_BYTES} bytes"),
        ("overrides:\n- tasks: a\n  breaker: {}", "overrides[0]", 2, "must have matching or"),
        ("overrides:\n- tasks: a\n  matching: {min_match: 2}", ANY_MATCH, 3, "at most 1, and is 2"),
        ("overrides:\n- swarms: a\n  breaker: {}\n  matching: {}", "overrides[0]", 2, "neither"),
        ("overrides:\n- swarms: a\n  budgets: {}", "overrides[0]", 2, "must have breaker"),
        ("overrides:\n- tasks: a\n  budgets: {}\n  slo: {}", "overrides[0]", 2, "or slo"),
        ("slo:\n  success_rate: 1.0", "slo.success_rate", 2, "must be below 1, and is 1"),
        ("overrides:\n- budgets: {}", "overrides[0]", 2, "must have tasks or capability"),
        ("overrides:\n- tasks: a\n  swarms: a\n  budgets: {}", "overrides[0]", 2, "or else swarms"),
        ("overrides:\n- tasks: a\n  budgets: {soft_share: 1}", "overrides[0]", 2, "soft_share"),
        ("rules: x", "rules", 1, "must be a list, and is 'x'"),
        ("rules:\n- {name: a b, when: 1 > 0, deny: x}", "rules[0].name", 2, "1 to 64 characters"),
        ("cases:\n- {name: c, task: {filler: 1}, expect: allow}", FILLER, 2, "true or false"),
        ("cases:\n- {name: c, task: {id: a b}, expect: allow}", TASK_ID, 2, "1 to 128 char"),
        (
            f"chassis:\n  required_layers: [{'a, ' * 33}]",
            LAYERS,
            2,
            "at most 32 entries, and has 33",
        ),
        (
            f"overrides:\n- {{tasks: {'t' * 129}, matching: {{}}}}",
            OF_TASKS,
            2,
            "128 characters, and has",
        ),
        ("rules:\n- name: r\n  deny: denied", "rules[0].when", 2, "must be given"),
        (
            "rules:\n- {name: r, when: 1 > 0, deny: ''}",
            "rules[0].deny",
            2,
            "must not be empty",
        ),
        (
            "rules:\n- {name: r, when: 1 > 0, deny: no}",
            "rules[0].deny",
            2,
            "needs quotes, and is false",
        ),
        (
            "rules:\n- {name: allow, when: 1 > 0, deny: denied}",
            "rules[0].name",
            2,
            "must not be allow",
        ),
        (
            "rules:\n- {name: r, when: 1 > 0, deny: a}\n- {name: r, when: 1 > 0, deny: a}",
            "rules[1].name",
            3,
            "unique",
        ),
        ("cases:\n- name: c\n  expect: x", "cases[0].expect", 3, "the name of a rule"),
        (
            f"budgets: {{max_task_cost_micros: 5}}\n{DEAR}",
            "cases[0].expect",
            5,
            "'dear' expects allow, and comes to max_task_cost_micros: the task may cost 0.000006",
        ),
    ],
)
def test_g8_a_problem_has_its_place_and_says_what_is_right(
    text: str | bytes, path: str, line: int, told: str
) -> None:
    begin = time.process_time()
    found = problems(text)
    assert time.process_time() - begin < 1
    first = found[0]
    if "not YAML" in told:
        # Where the parser notices it is its own affair.
        assert (first[0], told in first[2]) == (path, True)
    else:
        assert (first[0], first[1]) == (path, line)
        assert told in first[2]


def test_g8_all_problems_are_told_at_once() -> None:
    text = (
        "budgets:\n  soft_share: 2\nrules:\n- name: r\n  when: 'true'\n  deny: 1\n"
        "breaker:\n  min_calls: 0\n"
    )
    assert [path for path, _, _ in problems(text)] == [
        "budgets.soft_share",
        "rules[0].deny",
        "breaker.min_calls",
    ], "in the order of the file"


def test_g8_rules_and_cases_are_looked_at_whatever_else_is_wrong() -> None:
    """One of each kind, and what the cases come to is not known then."""
    text = (
        "budgets:\n  soft_share: 2\n"
        "rules:\n- {name: r, when: task.nothing > 0, deny: x}\n"
        "- {name: r, when: task.priority > 0, deny: 1}\n- {name: s, when: 1 > 0}\n"
        "cases:\n- {name: a, expect: q}\n- {name: b, expect: s s}\n- {nome: c, expect: allow}\n"
    )
    found = problems(text)
    assert [(path, line) for path, line, _ in found] == [
        ("budgets.soft_share", 2),
        ("rules[0].when", 4),
        ("rules[1].deny", 5),
        ("rules[1].name", 5),
        ("rules[2].deny", 6),
        ("cases[0].expect", 8),
        ("cases[1].expect", 9),
        ("cases[2].name", 10),
        ("cases[2].nome", 10),
        ("cases", 7),
    ]
    assert found[-1][2] == "were not run, as the file has other problems"


def test_g8_one_wrong_case_keeps_no_other_from_being_run() -> None:
    text = "cases:\n- {name: a, expect: q}\n- {name: b, expect: max_task_cost_micros}\n"
    assert [path for path, _, _ in problems(text)] == ["cases[0].expect", "cases[1].expect"]


def test_g8_more_rules_than_may_be_are_told_as_that_alone() -> None:
    text = "rules:\n" + "- {name: r, when: nothing, deny: x}\n" * 101
    assert ("rules", 1) in [(path, line) for path, line, _ in problems(text)]
    assert not [path for path, _, _ in problems(text) if path.endswith("when")]


def test_g8_a_case_holds_or_is_a_problem() -> None:
    text = with_rule('swarm.model == "m"') + (
        "cases:\n- {name: a, swarm: {model: m}, expect: r}\n- {name: b, expect: allow}\n"
    )
    assert not problems(text)
    ((path, line, told),) = problems(text.replace("expect: allow", "expect: r"))
    assert (path, line) == ("cases[1].expect", 8)
    assert told == "case 'b' expects r, and comes to allow"


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "budgets: {}"])
def test_g8_what_is_not_said_has_its_default(text: str) -> None:
    policy = loaded(text).policy
    assert policy.breaker.max_consecutive_failures == 3
    assert policy.matching.min_match == 0.7
    assert policy.budgets.max_task_cost_micros is None
