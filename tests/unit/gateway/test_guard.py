"""Who may ask: programs on this machine and our own pages, no other page."""

import pytest
from starlette.datastructures import Headers

from infrafabric_server.gateway.guard import is_loopback, objection


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("[::1]", True),
        ("::1", True),
        ("example.com", False),
        ("localhost.example.com", False),
        ("192.168.0.1", False),
        ("0.0.0.0", False),  # noqa: S104  # a name in a header, nothing is bound
        ("", False),
        ("[", False),
    ],
)
def test_names_of_this_machine(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "localhost:8765"},
        {"host": "127.0.0.1:8765"},
        {"host": "[::1]:8765"},
        {},
        {"host": "localhost:8765", "origin": "http://localhost:8765"},
        {"host": "localhost:8765", "sec-fetch-site": "same-origin"},
        {"host": "localhost:8765", "sec-fetch-site": "none"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_programs_and_our_own_pages_may_ask(method: str, headers: dict[str, str]) -> None:
    assert objection(method, Headers(headers), loopback=True) is None


@pytest.mark.parametrize(
    "headers",
    [
        # A name that its owner made resolve to this machine.
        {"host": "rebind.example.com:8765"},
        {"host": "[2001:db8::1]:8765"},
        # A page of another origin, of a file, and of another port of this machine.
        {"host": "localhost:8765", "origin": "https://example.com"},
        {"host": "localhost:8765", "origin": "null"},
        {"host": "localhost:8765", "origin": "http://localhost:3000"},
        {"host": "localhost:8765", "origin": "http://["},
        {"host": "localhost:8765", "origin": ""},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_pages_may_not(method: str, headers: dict[str, str]) -> None:
    assert objection(method, Headers(headers), loopback=True) is not None


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_link_may_be_followed_but_nothing_changed_from_another_page(site: str) -> None:
    headers = Headers({"host": "localhost:8765", "sec-fetch-site": site})
    assert objection("GET", headers, loopback=True) is None
    assert objection("POST", headers, loopback=True) is not None


def test_beyond_the_loopback_interface_any_host_may_be_asked() -> None:
    assert objection("POST", Headers({"host": "fabric.example.com"}), loopback=False) is None
    foreign = Headers({"host": "fabric.example.com", "origin": "https://example.com"})
    assert objection("POST", foreign, loopback=False) is not None
