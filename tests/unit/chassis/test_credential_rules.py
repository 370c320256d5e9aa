"""X6: what a credential allows, whatever way an address is written in."""

import ipaddress
import re
import string
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from infrafabric_server.chassis.credentials import rules, tokens, urls
from infrafabric_server.chassis.credentials.models import (
    Credential,
    Denial,
    Endpoint,
    TaskCredentials,
)
from infrafabric_server.chassis.egress.addresses import public, reachable
from infrafabric_server.coordinator import rules as tasks
from infrafabric_server.coordinator.models import Dispatch, Task, TaskSpec

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TTL = timedelta(minutes=5)
PIECES = st.sampled_from(
    ["a", "v1", "..", ".", "%2e", "%2F", "%25", "%5c", ";", "", "%61", "~", "//"]
)


def endpoint(url: str, *methods: str) -> Endpoint:
    target = urls.read(url)
    return Endpoint(
        scheme=target.scheme,
        host=target.host,
        port=target.port,
        path=target.path,
        methods=methods or ("GET",),
    )


def credential(*endpoints: Endpoint, revoked: bool = False) -> Credential:
    return Credential(
        credential_id="0" * 16,
        digest="0" * 64,
        endpoints=endpoints,
        create_time=NOW,
        expire_time=NOW + TTL,
        revoke_time=NOW if revoked else None,
    )


def claimed(ttl: timedelta | None = TTL) -> Task:
    task = tasks.create(TaskSpec(task_id="t", create_time=NOW), Dispatch.AUTO, ready=True)
    return tasks.claim(task, "s", NOW, ttl=ttl)


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://Example.ORG", "https://example.org/"),
        ("HTTPS://example.org:443/a?b=c", "https://example.org/a?b=c"),
        ("http://[::0001]:80/", "http://[::1]/"),
        ("http://10.0.0.1:8080/x", "http://10.0.0.1:8080/x"),
    ],
)
def test_x6_an_address_has_one_form(url: str, same: str) -> None:
    assert urls.read(url).url == same


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "//example.org/",
        "file:///etc/passwd",
        "https:///path",
        "https://user@example.org/",
        "https://example.org#part",
        "https://example.org:0/",
        "https://example.org:65536/",
        "https://example.org/a/../b",
        "https://example.org/a/%2E%2e/b",
        "https://example.org/a/..;x=1/b",
        "https://example.org/a%2fb",
        "https://example.org/a%5cb",
        "https://example.org/a\\b",
        "https://example.org/%252e%252e/",
        "https://example.org/%00",
        "https://example.org/ a",
        "https://example.org/a\r\nHost: evil",
        "https://example.org\r\n/",
        "https://exämple.org/",
        "https://example.org./",
        "https://-a.org/",
        "https://127.1/",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://1.2.3.4.5/",
        "https://[::1%25eth0]/",
        "https://[1.2.3.4]/",
        "https://example.org/" + "a" * 2_048,
    ],
)
def test_x6_what_could_be_understood_in_two_ways_is_no_address(url: str) -> None:
    with pytest.raises(ValueError, match="must"):
        urls.read(url)


@given(st.lists(PIECES, max_size=6), st.sampled_from(["/v1", "/v1/"]))
def test_x6_a_path_that_is_allowed_stays_below_its_prefix(pieces: list[str], prefix: str) -> None:
    try:
        target = urls.read("https://example.org" + "/".join(["/v1", *pieces]))
    except ValueError:
        return
    assume(endpoint(f"https://example.org{prefix}").covers(target))
    depth = 0
    for segment in target.path.split("/")[1:]:
        decoded = tokens_decoded(segment)
        assert "/" not in decoded
        depth += {"..": -1, ".": 0}.get(decoded.partition(";")[0], 1)
        assert depth >= 1


def tokens_decoded(segment: str) -> str:
    """Decode as often as anything changes, as the most careless of servers might."""
    while (once := re.sub("%([0-9a-fA-F]{2})", lambda m: chr(int(m[1], 16)), segment)) != segment:
        segment = once
    return segment


@pytest.mark.parametrize(
    ("prefix", "path", "covered"),
    [
        ("/", "/anything", True),
        ("/v1", "/v1", True),
        ("/v1", "/v1/a", True),
        ("/v1", "/v10", False),
        ("/v1", "/V1", False),
        ("/v1/", "/v1/", True),
        ("/v1/", "/v1", False),
        ("/v1", "/%761", False),
    ],
)
def test_x6_a_prefix_ends_where_a_segment_ends(prefix: str, path: str, covered: bool) -> None:
    target = urls.read(f"https://example.org{path}")
    assert endpoint(f"https://example.org{prefix}").covers(target) is covered


def test_x6_a_claim_that_is_over_ends_its_credentials() -> None:
    held = TaskCredentials(swarm_id="s", task_id="t", attempt=1)
    task = claimed()
    assert rules.claimed(held, task, NOW)
    assert rules.claimed(held, claimed(None), NOW + timedelta(days=9))
    # Nobody has to note that the time of a claim is over.
    assert not rules.claimed(held, task, NOW + TTL)
    assert not rules.claimed(held, None, NOW)
    assert not rules.claimed(held, tasks.release(task), NOW)
    assert not rules.claimed(held, tasks.take_over(task, NOW), NOW)
    again = tasks.claim(tasks.release(task), "s", NOW, ttl=TTL)
    assert not rules.claimed(held, again, NOW)
    assert not rules.claimed(held.model_copy(update={"swarm_id": "x"}), task, NOW)


def test_x6_the_nearest_credential_tells_why_a_request_is_not_allowed() -> None:
    target = urls.read("https://example.org/v1/a")
    far, near = credential(endpoint("https://other.org/")), endpoint("https://example.org/v1")
    assert rules.granted([], "GET", target, NOW) is Denial.NOT_ISSUED
    assert rules.granted([far], "GET", target, NOW) is Denial.ENDPOINT
    assert rules.granted([credential(near), far], "PUT", target, NOW) is Denial.METHOD
    assert rules.granted([far, credential(near)], "GET", target, NOW) == credential(near)
    assert rules.granted([credential(near, revoked=True)], "GET", target, NOW) is Denial.NOT_ISSUED
    assert rules.granted([credential(near)], "GET", target, NOW + TTL) is Denial.NOT_ISSUED
    both = credential(near, endpoint("https://example.org/v1/a", "PUT"))
    assert rules.granted([both], "PUT", target, NOW) == both


def test_x6_tokens_can_be_told_from_look_alikes_and_hide_their_text() -> None:
    token = tokens.new_token()
    assert re.fullmatch(r"ifcred_[0-9a-f]{16}_[0-9A-Za-z]{49}", token.text)
    assert tokens.credential_id(token.text) == token.credential_id
    assert token.text[24:] not in repr(token)
    assert tokens.new_token().text != token.text


@given(st.integers(0, 72), st.sampled_from(string.ascii_letters + string.digits + "_\n\ud800"))
def test_x6_one_wrong_character_makes_a_token_none(at: int, other: str) -> None:
    text = tokens.new_token().text
    damaged = text[:at] + other + text[at + 1 :]
    assume(damaged != text)
    assert tokens.credential_id(damaged) is None
    assert tokens.digest(damaged) != tokens.digest(text)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1111", "8.8.8.8"])
def test_x6_the_internet_is_public(address: str) -> None:
    assert public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104  # no address to bind to
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "fec0::1",
        "ff02::1",
        "::ffff:8.8.8.8",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:53aa:64c::1",
        "::7f00:1",
    ],
)
def test_x6_what_is_not_the_internet_is_reached_only_if_it_is_named(address: str) -> None:
    inner, outer = ipaddress.ip_address(address), ipaddress.ip_address("8.8.8.8")
    assert not public(inner)
    for found in ([inner], [outer, inner]):
        with pytest.raises(ValueError, match="not public"):
            reachable("name.example.org", found)
    assert reachable(str(inner), [inner]) == [inner]


def test_x6_a_host_without_an_address_is_not_reached() -> None:
    with pytest.raises(ValueError, match="no address"):
        reachable("name.example.org", [])
