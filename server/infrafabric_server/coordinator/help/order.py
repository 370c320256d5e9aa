"""In which order requests for help have their turn, and in which they make room."""

from bisect import bisect_left, insort
from datetime import datetime
from typing import TypeVar

from infrafabric_server.governor.help.models import HelpRequest

Turn = tuple[int, datetime, str]
_End = tuple[datetime, str]
PlaceT = TypeVar("PlaceT", Turn, _End)


class Order:
    """Kept from the changes of all requests; places are looked up, never searched."""

    def __init__(self, *, most_on_offer: int, most_ended: int) -> None:
        """Take how many live ones are on offer at a time, and how many ended ones are kept."""
        self._most_on_offer = most_on_offer
        self._most_ended = most_ended
        self._live: list[Turn] = []
        self._ended: list[_End] = []

    @property
    def live(self) -> bool:
        """Whether any request is not known to be over."""
        return bool(self._live)

    def change(self, old: HelpRequest | None, new: HelpRequest | None) -> list[str]:
        """Take a change; return the other requests for which it makes a difference."""
        news: list[str] = []
        before, after = _turn(old), _turn(new)
        if before != after:
            if before is not None and _taken(self._live, before):
                # The first of those that wait has a place.
                news += [
                    each[2] for each in self._live[self._most_on_offer - 1 : self._most_on_offer]
                ]
            if after is not None:
                insort(self._live, after)
        begin, end = _end(old), _end(new)
        if begin != end:
            if begin is not None:
                _taken(self._ended, begin)
            if end is not None:
                insort(self._ended, end)
                if self._surplus > 0:
                    # The first ones are to make room already; this one is, too, by now.
                    news.append(self._ended[self._surplus - 1][1])
        return news

    def on_offer(self, request: HelpRequest) -> bool:
        """Tell whether a live request is among the first."""
        return bisect_left(self._live, request.turn) < self._most_on_offer

    def makes_room(self, request: HelpRequest) -> bool:
        """Tell whether a request that has ended is one of too many, those that ended first."""
        end = _end(request)
        return end is not None and bisect_left(self._ended, end) < self._surplus

    def clear(self) -> None:
        """Forget everything."""
        self._live.clear()
        self._ended.clear()

    @property
    def _surplus(self) -> int:
        return len(self._ended) - self._most_ended


def _turn(request: HelpRequest | None) -> Turn | None:
    return None if request is None or request.ended else request.turn


def _end(request: HelpRequest | None) -> _End | None:
    if request is None or request.end_time is None:
        return None
    return request.end_time, request.help_id


def _taken(places: list[PlaceT], place: PlaceT) -> bool:
    """Take a place out of an ordered list; tell whether it was there."""
    index = bisect_left(places, place)
    found = places[index : index + 1] == [place]
    del places[index : index + found]
    return found
