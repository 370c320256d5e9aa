"""Lists of what a filter leaves: no turn of the event loop, and no call, is as long as the view."""

import asyncio

from pydantic import BaseModel

from infrafabric_server.governor.listing import Part, filtered
from infrafabric_server.store.view import Entry, View


class Item(BaseModel):
    """Something in a view."""

    number: int


def view_of(size: int) -> View[Item]:
    """Return a view of numbered items, whose ids sort by them."""
    view = View("items/", Item)
    for number in range(size):
        id_ = f"{number:06d}"
        view.replace(id_, Entry(f"items/{id_}", id_, Item(number=number), 1, 1), 1)
    return view


async def test_a_walk_goes_through_all_parts_and_finds_each_once() -> None:
    view, found, position = view_of(1_000), [], ""
    sizes = []
    while True:
        part: Part[Item] = await filtered(
            view, position, 3, lambda item: item.number % 100 == 7, most=300
        )
        found += [item.number for item in part.found]
        sizes.append(len(part.found))
        position = part.position
        if not position:
            break
    assert found == [*range(7, 1_000, 100)]
    assert sizes == [3, 3, 3, 1]


async def test_a_part_of_which_nothing_fits_says_where_the_next_begins() -> None:
    part = await filtered(view_of(1_000), "", 10, lambda item: item.number == 999, most=600)
    assert part == Part([], "000599")
    part = await filtered(view_of(1_000), part.position, 10, lambda item: item.number == 999)
    assert part == Part([Item(number=999)], "")


async def test_the_last_part_says_so_though_it_is_full() -> None:
    view = view_of(4)
    assert (await filtered(view, "", 2, lambda _item: True)).position == "000001"
    assert (await filtered(view, "000001", 2, lambda _item: True)).position == ""


async def test_others_have_their_turn_while_a_filter_leaves_nothing() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    assert (await filtered(view_of(2_560), "", 10, lambda _item: False)).found == []
    beside.cancel()
    assert turns >= 10
