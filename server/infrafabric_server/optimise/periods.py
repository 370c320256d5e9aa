"""When the periods of a budget begin and end, in a time zone."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache, lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from infrafabric_server.optimise.models import Period

_SECOND = timedelta(seconds=1)
_DATA = files("tzdata")


def zone(name: str) -> tzinfo:
    """Return the time zone of an IANA name; "" is UTC.

    Raises:
        ValueError: there is none of that name; the message says so.
    """
    if name in ("", "UTC"):
        return UTC
    found = _zone(name)
    if found is None:
        raise ValueError(
            f"{name!r} is no time zone that is known here; give an IANA name, such as Europe/Vienna"
        )
    return found


@cache
def _names() -> frozenset[str]:
    return frozenset(_DATA.joinpath("zones").read_text(encoding="utf-8").split())


# Unknown names must not fill the memory; there are some 600 known ones.
@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo | None:
    """Return a zone of the package `tzdata`.

    ZoneInfo would take that of the machine if there is one, which another replica may not have, or
    with other rules.
    """
    if name not in _names():
        return None
    with _DATA.joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def period_at(period: Period, moment: datetime, where: tzinfo) -> tuple[datetime, datetime]:
    """Return the beginning and the end, in UTC, of the period that a moment lies in.

    It begins when the clocks of the zone `where` first show its beginning or later. So one whose
    beginning they skip begins when they skip it, and an hour that they show twice is one period.
    Every moment is in exactly one: at its beginning or later, and before its end.
    """
    floor, step = _RULES[period]
    name = floor(moment.astimezone(where).replace(tzinfo=None))
    begin, end = _first(name, where), _first(step(name), where)
    # Clocks that were set back show again what was before a beginning that has passed.
    while end <= moment:
        name = step(name)
        begin, end = end, _first(step(name), where)
    return begin, end


def _first(shown: datetime, where: tzinfo) -> datetime:
    """Return the first moment at which the clocks show `shown` or later."""
    found = shown.replace(tzinfo=where).astimezone(UTC)
    if _shown(found, where) == shown:
        return found
    # They skip it. By the time from before it would come after they do, by the one after, before.
    late, early = found, shown.replace(tzinfo=where, fold=1).astimezone(UTC)
    while late - early > _SECOND:
        middle = early + (late - early) // 2 // _SECOND * _SECOND
        if _shown(middle, where) < shown:
            early = middle
        else:
            late = middle
    return late


def _shown(moment: datetime, where: tzinfo) -> datetime:
    return moment.astimezone(where).replace(tzinfo=None)


def _hour(shown: datetime) -> datetime:
    return shown.replace(minute=0, second=0, microsecond=0, fold=0)


def _day(shown: datetime) -> datetime:
    return _hour(shown).replace(hour=0)


def _week(shown: datetime) -> datetime:
    return _day(shown) - timedelta(days=shown.weekday())


def _month(shown: datetime) -> datetime:
    return _day(shown).replace(day=1)


def _next_month(begin: datetime) -> datetime:
    # Every month is shorter than 32 days, and longer than 27.
    return _month(begin + timedelta(days=32))


_Floor = Callable[[datetime], datetime]

_RULES: dict[Period, tuple[_Floor, _Floor]] = {
    Period.HOUR: (_hour, lambda begin: begin + timedelta(hours=1)),
    Period.DAY: (_day, lambda begin: begin + timedelta(days=1)),
    Period.WEEK: (_week, lambda begin: begin + timedelta(days=7)),
    Period.MONTH: (_month, _next_month),
}
