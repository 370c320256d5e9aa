"""A server that cannot run a swarm's tasks tries again, less and less often."""

from infrafabric_server.chassis.setbacks import MOST_SECONDS, Setbacks


def test_x1_each_setback_takes_twice_as_long_until_it_works() -> None:
    setbacks = Setbacks()
    assert [setbacks.seconds("a") for _ in range(7)] == [1, 2, 4, 8, 16, MOST_SECONDS, MOST_SECONDS]
    assert setbacks.seconds("b") == 1
    setbacks.forget("a")
    assert setbacks.seconds("a") == 1
