"""What `infrafabric tasks get` tells people of why a task is not assigned."""

from tests.harness.documents import ROOT
from tests.integration.commands import Cli, document


def why(cli: Cli, task_id: str) -> str:
    """Return why a task waits, as it is shown to people; empty if nothing is."""
    shown = dict(line.split("\t", 1) for line in cli("tasks", "get", task_id).stdout.splitlines())
    return shown.get("waits because", "")


def test_a_task_tells_which_rules_left_out_how_many_swarms(cli: Cli) -> None:
    create = ("tasks", "create", "x", "--capability", "waiting", "--max-cost", "1", "--id")
    cli(*create, "waits-t")
    assert why(cli, "waits-t") == "no swarm is registered"
    cli("swarm", "register", "waits-other")
    for swarm in ("waits-dear", "waits-off", "waits-poor"):
        price = ("--cost-per-hour", "3") if swarm == "waits-dear" else ()
        cli("swarm", "register", swarm, "--capability", "waiting", *price)
    cli("breaker", "trip", "waits-off", "--reason", "looks wrong")
    cli("budget", "set", "0.50", "--swarm", "waits-poor")
    cli(*create, "waits-u", "--hours", "0.5")
    assert why(cli, "waits-u") == (
        "no swarm fits: left out capability 1, cost 1, breaker 1, budget 1"
    )
    # Where no time is expected, no price of an hour is too high.
    assert why(cli, "waits-t") == (
        "no session takes it now of who fits (waits-dear): left out capability 1, breaker 1, "
        "budget 1"
    )
    cli("budget", "set", "0.80", "--task", "waits-t")
    assert (
        why(cli, "waits-t") == "its own budget has 0.80 USD left, which does not cover an attempt"
    )
    assert "waits because" not in document(cli("tasks", "get", "waits-t", "--json"))


def test_g6_a_hold_is_named_and_not_counted_as_breakers(cli: Cli) -> None:
    cli("swarm", "register", "waits-held", "--capability", "holding")
    # It sorts before any other breaker that is open.
    cli("breaker", "trip", "waits-held", "--reason", "looks wrong")
    cli("breaker", "trip", "--fabric", "--reason", "the bill is wrong")
    cli("tasks", "create", "x", "--capability", "holding", "--id", "waits-hold")
    assert why(cli, "waits-hold") == "the fabric is on hold: the bill is wrong"
    cli("breaker", "reset", "--fabric", "--approver", "Ann Lee", "--reason", "it was right")
    assert why(cli, "waits-hold").startswith("no swarm fits: ")


def test_a_task_that_waits_for_something_else_does_not_ask_for_swarms(cli: Cli) -> None:
    cli("tasks", "create", "x", "--id", "waits-hand", "--dispatch", "manual")
    cli("tasks", "create", "x", "--id", "waits-first", "--depends", "waits-hand")
    shown = cli("tasks", "get", "waits-first").stdout
    assert "state\tblocked\n" in shown
    assert "depends on\twaits-hand\n" in shown
    assert [why(cli, each) for each in ("waits-hand", "waits-first")] == ["", ""]
    cli("swarm", "register", "waits-one")
    cli("tasks", "claim", "waits-hand", "--swarm", "waits-one")
    assert why(cli, "waits-hand") == ""


def test_a_task_of_the_chassis_tells_what_its_own_swarm_lacks(cli: Cli) -> None:
    cli("tasks", "create", "x", "--id", "waits-box", "--chassis", "waits-guest")
    assert why(cli, "waits-box").startswith("waits-guest has no module: ")
    cli("swarm", "register", "waits-guest", "--capability", "guest")
    cli("breaker", "trip", "waits-guest", "--reason", "looks wrong")
    cli("chassis", "load", "waits-guest", str(ROOT / "demo" / "words.wat"))
    told = why(cli, "waits-box")
    assert told.startswith("waits-guest: ")
    assert "looks wrong" in told
