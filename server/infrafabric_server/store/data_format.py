"""The format of a fabric's records: one number, which each kind of store keeps beside them.

It is about what is in the values, such as a task's JSON; files and tables have numbers of their
own. A release that changes records so that the release before it would misread them, or cannot
read them, has the next number. What it has to keep to then is in docs/decisions/0008.
"""

from infrafabric_server.store.protocol import StoreRefused

# 2: tasks that the chassis runs, and requests for help. To a release that knows 1, such a task is
# one for agents, and what a claim was lost by, or what a person is asked, may be no value at all.
DATA_FORMAT = 2
# That of a fabric which began before the number was written down.
UNNAMED = 1
# What is read as it is: nothing of it has another meaning by now.
_READ = frozenset({1, DATA_FORMAT})


class OtherFormat(StoreRefused):
    """What is stored is in a format that this release does not know."""


def check_data_format(where: str, found: object) -> None:
    """Raise OtherFormat unless `found`, which is what `where` says, can be read here."""
    if found not in _READ:
        raise OtherFormat(
            f"{where} has records of format {found}, and this release knows format {DATA_FORMAT}; "
            "start the release that wrote them, or a newer one"
        )
