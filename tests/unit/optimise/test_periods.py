"""When the periods of a budget begin and end."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrafabric_server.optimise.models import Period
from infrafabric_server.optimise.periods import period_at, zone

# Among them clocks that are set at midnight, by half an hour, by a minute past midnight, by a day.
_ZONES = st.sampled_from(
    [
        "UTC",
        "Europe/Vienna",
        "America/New_York",
        "America/Havana",
        "America/Sao_Paulo",
        "America/St_Johns",
        "Asia/Kathmandu",
        "Australia/Lord_Howe",
        "Pacific/Apia",
    ]
)
# From 1985 to 2040.
_MOMENTS = st.floats(473_385_600, 2_208_988_800).map(lambda at: datetime.fromtimestamp(at, UTC))
_LONGEST = {
    Period.HOUR: timedelta(hours=2),
    Period.DAY: timedelta(hours=26),
    Period.WEEK: timedelta(days=7, hours=2),
    Period.MONTH: timedelta(days=31, hours=2),
}


@given(st.sampled_from(Period), _MOMENTS, _ZONES)
def test_every_moment_is_in_exactly_one_period(period: Period, moment: datetime, name: str) -> None:
    where = zone(name)
    begin, end = period_at(period, moment, where)
    assert begin <= moment < end
    assert end - begin <= _LONGEST[period]
    assert period_at(period, begin, where) == (begin, end)
    assert period_at(period, end - timedelta(microseconds=1), where) == (begin, end)
    assert period_at(period, end, where)[0] == end
    assert period_at(period, begin - timedelta(microseconds=1), where)[1] == begin


def _at(text: str, name: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(name)).astimezone(UTC)


@pytest.mark.parametrize(
    ("period", "moment", "name", "begin", "end"),
    [
        (Period.HOUR, "2026-05-04T10:59:59", "UTC", "2026-05-04T10:00", "2026-05-04T11:00"),
        (Period.HOUR, "2026-05-04T10:31", "Asia/Kathmandu", "2026-05-04T10:00", "2026-05-04T11:00"),
        (Period.DAY, "2026-05-04T00:00", "Europe/Vienna", "2026-05-04T00:00", "2026-05-05T00:00"),
        (Period.WEEK, "2026-05-03T23:59", "Europe/Vienna", "2026-04-27T00:00", "2026-05-04T00:00"),
        (Period.WEEK, "2026-05-04T00:00", "UTC", "2026-05-04T00:00", "2026-05-11T00:00"),
        (Period.MONTH, "2028-02-29T12:00", "UTC", "2028-02-01T00:00", "2028-03-01T00:00"),
        (Period.MONTH, "2026-12-31T12:00", "UTC", "2026-12-01T00:00", "2027-01-01T00:00"),
    ],
)
def test_g4_periods_begin_at_local_midnight_weeks_on_monday(
    period: Period, moment: str, name: str, begin: str, end: str
) -> None:
    assert period_at(period, _at(moment, name), zone(name)) == (_at(begin, name), _at(end, name))


def test_a_day_in_which_clocks_change_has_23_or_25_hours() -> None:
    where = zone("Europe/Vienna")
    lengths = []
    for day in (datetime(2026, 3, 29, 12, tzinfo=UTC), datetime(2026, 10, 25, 12, tzinfo=UTC)):
        begin, end = period_at(Period.DAY, day, where)
        lengths.append(end - begin)
    assert lengths == [timedelta(hours=23), timedelta(hours=25)]


def test_a_midnight_that_clocks_skip_is_when_they_skip_it() -> None:
    begin, end = period_at(Period.DAY, datetime(2025, 3, 9, 12, tzinfo=UTC), zone("America/Havana"))
    assert (begin, end) == (
        datetime(2025, 3, 9, 5, tzinfo=UTC),
        datetime(2025, 3, 10, 4, tzinfo=UTC),
    )


@pytest.mark.parametrize("name", ["Europe/Wien", "../etc/passwd", "/etc/passwd", "Europe", "a\0b"])
def test_a_zone_that_is_not_known_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match="is no time zone") as refused:
        zone(name)
    assert repr(name) in str(refused.value)


def test_g5_every_zone_there_is_is_known_and_nothing_else() -> None:
    names = files("tzdata").joinpath("zones").read_text().split()
    assert len(names) > 500
    for name in names:
        begin, end = period_at(Period.DAY, _at("2026-05-04T12:00", "UTC"), zone(name))
        assert end - begin == timedelta(days=1), name
    for name in (
        "zones",
        "../zones",
        "/etc/localtime",
        "Europe",
        "europe/vienna",
        "Europe/Vienna/",
    ):
        with pytest.raises(ValueError, match="no time zone"):
            zone(name)
    assert zone("Europe/Vienna") is zone("Europe/Vienna")


@pytest.mark.parametrize("own", ["none", "other rules"])
def test_g5_a_budget_is_renewed_at_the_same_time_whatever_zones_the_machine_has(
    own: str, tmp_path: Path
) -> None:
    path = ""
    if own == "other rules":
        path = str(tmp_path)
        (tmp_path / "Europe").mkdir()
        wrong = files("tzdata").joinpath("zoneinfo", "Asia", "Kathmandu").read_bytes()
        (tmp_path / "Europe" / "Vienna").write_bytes(wrong)
    program = """
from datetime import UTC, datetime
from infrafabric_server.optimise.models import Period
from infrafabric_server.optimise.periods import period_at, zone
begin, end = period_at(Period.MONTH, datetime(2026, 3, 9, tzinfo=UTC), zone("Europe/Vienna"))
print(begin.isoformat(), end.isoformat())
"""
    environment = {**os.environ, "PYTHONTZPATH": path}
    told = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True)
    assert told.split() == ["2026-02-28T23:00:00+00:00", "2026-03-31T22:00:00+00:00"]
