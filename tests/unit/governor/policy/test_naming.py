"""G8: a refusal names the policy in words that people read."""

from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.policy.naming import named
from tests.unit.governor.policy.kit import loaded


def test_g8_the_default_policy_is_called_so_and_any_other_by_the_begin_of_its_hash() -> None:
    assert named(PolicyBook().current.hash) == "the default policy"
    assert named(loaded("").hash) == "the default policy"
    other = loaded("budgets: {}").hash
    assert named(other) == f"policy {other[:12]}"
