"""X2, X3: the limits of a contract have bounds of their own, and those of the policy."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from infrafabric_server.chassis.contract import ResourceLimits, ServiceContract, SLODefinition
from infrafabric_server.errors import InvalidField
from infrafabric_server.governor.policy.models import Containing

_POLICIES = st.builds(
    Containing,
    max_memory_mb=st.integers(1, 4096),
    max_cpu_percent=st.integers(1, 100),
    max_api_calls_per_second=st.integers(1, 10_000),
    max_execution_time=st.integers(1, 3600).map(lambda seconds: timedelta(seconds=seconds)),
    max_output_bytes=st.integers(1, 262_144),
)
_GIVEN = st.fixed_dictionaries(
    {},
    optional={
        "max_memory_mb": st.integers(1, 4096),
        "max_cpu_percent": st.integers(1, 100),
        "max_api_calls_per_second": st.integers(1, 10_000),
        "max_execution_time": st.timedeltas(timedelta(milliseconds=10), timedelta(hours=1)),
        "max_output_bytes": st.integers(1, 262_144),
    },
)


@given(_GIVEN, _POLICIES)
def test_x3_what_is_agreed_is_what_was_asked_for_and_never_beyond_the_policy(
    given_limits: dict[str, Any], policy: Containing
) -> None:
    beyond = {name for name, value in given_limits.items() if value > policy.bounds[name]}
    if beyond:
        with pytest.raises(InvalidField) as refused:
            ResourceLimits.within(given_limits, policy, "1f2e")
        assert {each.field.rpartition(".")[2] for each in refused.value.fields} == beyond
        assert all("of policy 1f2e" in each.rule for each in refused.value.fields)
        return
    agreed = ResourceLimits.within(given_limits, policy, "1f2e")
    defaults = ResourceLimits()
    for name, bound in policy.bounds.items():
        wanted = given_limits.get(name, min(getattr(defaults, name), bound))
        assert getattr(agreed, name) == wanted


@pytest.mark.parametrize(
    "beyond",
    [
        {"max_memory_mb": 0},
        {"max_memory_mb": 4097},
        {"max_cpu_percent": 101},
        {"max_api_calls_per_second": 0},
        {"max_execution_time": timedelta(milliseconds=9)},
        {"max_execution_time": timedelta(hours=2)},
        {"max_output_bytes": 262_145},
    ],
)
def test_x2_d2_limits_beyond_their_own_bounds_are_none(beyond: dict[str, int | timedelta]) -> None:
    with pytest.raises(ValidationError):
        ResourceLimits.model_validate(beyond)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_x3_d2_a_promise_is_a_share_that_can_be_missed(share: float) -> None:
    with pytest.raises(ValidationError):
        SLODefinition(success_rate=share)
    with pytest.raises(ValidationError):
        SLODefinition(availability=share)


def test_x3_d2_a_contract_is_read_from_the_store_as_it_was_written() -> None:
    contract = ServiceContract(
        limits=ResourceLimits(max_execution_time=timedelta(milliseconds=1500)),
        slo=SLODefinition(success_rate=0.99, p99_latency=timedelta(seconds=2)),
        allowed_calls=frozenset({"progress"}),
        version="3",
    )
    text = contract.model_dump_json(exclude_defaults=True)
    assert ServiceContract.model_validate_json(text) == contract
