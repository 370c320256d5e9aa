"""X3, X4: which service level holds for a swarm."""

from datetime import timedelta

from infrafabric_server.chassis.levels import Levels
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.policy.models import Override, Policy, ServiceLevel
from infrafabric_server.governor.policy.verdicts import effective

POLICY = Policy(
    slo=ServiceLevel(success_rate=0.9),
    overrides=(
        Override(swarms="gpu-*", slo=ServiceLevel(p99_latency=timedelta(hours=8))),
        Override(swarms="gpu-old", slo=ServiceLevel(success_rate=0.5, p99_latency=None)),
    ),
)


def test_x4_an_override_says_what_differs_and_the_last_one_counts() -> None:
    levels = Levels(PolicyBook(POLICY))
    said = {each: levels.of(each) for each in ("cpu-1", "gpu-1", "gpu-old")}
    assert {each: level.success_rate for each, level in said.items()} == {
        "cpu-1": 0.9,
        "gpu-1": 0.9,
        "gpu-old": 0.5,
    }
    assert said["cpu-1"].p99_latency == timedelta(minutes=30)
    assert said["gpu-1"].p99_latency == timedelta(hours=8)
    assert said["gpu-old"].p99_latency is None


def test_x3_what_a_contract_promises_goes_before_the_policy() -> None:
    promised = {"s": {"success_rate": 0.99, "p99_latency": timedelta(seconds=2)}}
    levels = Levels(PolicyBook(POLICY), lambda swarm_id: promised.get(swarm_id, {}))
    assert (levels.of("s").success_rate, levels.of("s").p99_latency) == (0.99, timedelta(seconds=2))
    assert levels.of("s").availability == 0.95
    assert levels.of("t").success_rate == 0.9


def test_x4_another_policy_holds_at_once() -> None:
    book = PolicyBook()
    levels = Levels(book)
    assert levels.of("s").success_rate == 0.95
    book.install(effective(POLICY, "cafe"))
    assert levels.of("s").success_rate == 0.9
