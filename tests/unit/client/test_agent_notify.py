"""The one-file helper for agents: N6, N7, N9."""

import http.client
import io
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import agent_notify
from agent_notify import AgentNotifier, quick_notify
from tests.harness.http_capture import HttpCapture, http_capture

SOURCE = Path(agent_notify.__file__)


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpCapture]:
    with http_capture() as it:
        monkeypatch.setenv("IFNOTIFY_URL", it.url)
        yield it


@pytest.fixture
def notifier(capture: HttpCapture) -> AgentNotifier:
    assert capture.url
    return AgentNotifier("session-1-ndi", ["video", "ndi"])


def test_n6_idle_says_everything(
    notifier: AgentNotifier, capture: HttpCapture, capsys: pytest.CaptureFixture[str]
) -> None:
    capture.answer = b'{"status": "received", "queue_position": 2}'
    assert notifier.idle() == {"status": "received", "queue_position": 2}
    path, body = capture.requests[0]
    assert path == "/agent/idle"
    for name in ("timestamp", "waiting_since"):
        assert abs(datetime.fromisoformat(body.pop(name)) - datetime.now(UTC)) < timedelta(
            seconds=5
        )
    assert body == {
        "session_id": "session-1-ndi",
        "status": "idle",
        "capabilities": ["video", "ndi"],
        "cost_spent": 0.0,
        "tasks_completed": 0,
        "last_task": None,
    }
    assert capsys.readouterr().out == "✓ Notified coordinator: /AGENT/IDLE\n"


def test_n6_idle_names_the_current_task(notifier: AgentNotifier, capture: HttpCapture) -> None:
    notifier.busy("P0.1.2")
    notifier.idle()
    assert capture.last["last_task"] == "P0.1.2"
    notifier.idle("P0.1.3")
    assert capture.last["last_task"] == "P0.1.3"


def test_n6_completed_counts_and_is_idle_by_itself(
    notifier: AgentNotifier, capture: HttpCapture, capsys: pytest.CaptureFixture[str]
) -> None:
    notifier.completed("P0.1.1", cost=0.5)
    notifier.completed("P0.1.2", cost=2.25)
    assert capture.paths == ["/agent/completed", "/agent/idle"] * 2
    assert (notifier.cost_spent, notifier.tasks_completed) == (2.75, 2)
    assert (capture.last["cost_spent"], capture.last["tasks_completed"]) == (2.75, 2)
    assert capture.last["last_task"] == "P0.1.2"
    assert capsys.readouterr().out.splitlines()[:2] == [
        "✓ Notified coordinator: /AGENT/COMPLETED",
        "✓ Notified coordinator: /AGENT/IDLE",
    ]


@pytest.mark.parametrize("status", ["blocked", "help"])
def test_n6_reasons_are_messages(
    notifier: AgentNotifier, capture: HttpCapture, status: str
) -> None:
    notifier.busy("P0.1.2")
    getattr(notifier, status)("waiting for\nthe “spec”")
    path, body = capture.requests[-1]
    assert path == f"/agent/{status}"
    assert body["message"] == "waiting for\nthe “spec”"
    assert body["last_task"] == "P0.1.2"


def test_n6_refusal_prints_its_code(
    notifier: AgentNotifier, capture: HttpCapture, capsys: pytest.CaptureFixture[str]
) -> None:
    capture.code = 422
    assert notifier.busy("x") is None
    assert capsys.readouterr().out == "✗ Notification failed: 422\n"


@pytest.mark.parametrize("answer", [b"", b"[]", b"<html>", b"[" * 100_000, b"\xff"])
def test_n6_answer_that_is_no_json_object_is_a_failure(
    notifier: AgentNotifier,
    capture: HttpCapture,
    capsys: pytest.CaptureFixture[str],
    answer: bytes,
) -> None:
    capture.answer = answer
    assert notifier.idle() is None
    assert capsys.readouterr().out.startswith("✗ Failed to notify coordinator: ")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1",
        "http://no..such..host",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:port",
        "ftp://127.0.0.1",
        "file:///etc/passwd",
        "nonsense",
        "http://[::1",
        "http://127.0.0.1:1/a path",
    ],
)
def test_n9_never_raises(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IFNOTIFY_URL", url)
    assert AgentNotifier("s1", []).busy("x") is None
    out = capsys.readouterr().out
    assert out.startswith("✗ Failed to notify coordinator: ")
    assert out.count("\n") == 1


def test_n9_a_port_that_does_not_speak_http_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"

        def answer() -> None:
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as request:
                # All of it: a connection that is closed with something unread is reset.
                request.readline()
                headers = http.client.parse_headers(request)
                request.read(int(headers["Content-Length"]))
                # What a gRPC port says first: an HTTP/2 frame of settings.
                connection.sendall(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x7f\xff\xff\xff")

        peer = threading.Thread(target=answer)
        peer.start()
        monkeypatch.setenv("IFNOTIFY_URL", f"http://{address}")
        assert AgentNotifier("s1", []).busy("x") is None
        peer.join()
    why = f"what answers at {address} does not speak HTTP"
    assert capsys.readouterr().out == f"✗ Failed to notify coordinator: {why}\n"


@pytest.mark.parametrize("cost", [float("nan"), float("inf"), -1.0, "free", None])
def test_n9_cost_that_is_none_is_a_failure_and_spoils_no_later_report(
    cost: Any, notifier: AgentNotifier, capture: HttpCapture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert notifier.completed("x", cost=cost) is None
    assert capture.requests == []
    assert capsys.readouterr().out.startswith("✗ Failed to notify coordinator: ")
    assert notifier.completed("y", cost=Decimal("0.5")) is not None
    assert capture.requests[0][1]["cost_spent"] == 0.5


def test_n9_reports_when_no_thread_can_be_started(
    notifier: AgentNotifier, capture: HttpCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_any = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == "agent_notify":
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start_any(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    assert notifier.busy("x") is not None
    assert capture.requests[0][0] == "/agent/busy"


def test_n6_gives_up_in_time(
    notifier: AgentNotifier,
    capture: HttpCapture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert agent_notify.TIMEOUT == 5.0
    monkeypatch.setattr(agent_notify, "TIMEOUT", 0.05)
    capture.go_on.clear()
    assert notifier.idle() is None, "it returned though no answer came"
    assert capsys.readouterr().out.startswith("✗ Failed to notify coordinator: ")


def test_n6_default_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IFNOTIFY_URL", raising=False)
    assert AgentNotifier("s1", []).server_url == "http://localhost:8765"
    monkeypatch.setenv("IFNOTIFY_URL", "")
    assert AgentNotifier("s1", []).server_url == "http://localhost:8765"


def test_address_may_have_a_path(notifier: AgentNotifier, capture: HttpCapture) -> None:
    notifier.server_url = capture.url + "/fabric/"
    notifier.idle()
    assert capture.paths == ["/fabric/agent/idle"]


@pytest.mark.parametrize(
    ("status", "field"),
    [("idle", "last_task"), ("busy", "last_task"), ("blocked", "message"), ("help", "message")],
)
def test_n7_quick_notify(capture: HttpCapture, status: str, field: str) -> None:
    assert quick_notify(status, "s1", "the text") == {"status": "received"}
    path, body = capture.requests[0]
    assert (path, body["session_id"], body[field]) == (f"/agent/{status}", "s1", "the text")


def test_n7_quick_notify_of_a_wrong_status(
    capture: HttpCapture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quick_notify("sleeping", "s1") is None
    assert capture.requests == []
    assert "'sleeping' is not one of idle, busy" in capsys.readouterr().out


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    # Alone: no installed package, no PYTHONPATH, only the copy and the standard library.
    return subprocess.run(
        [sys.executable, "-I", "-S", "agent_notify.py", *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        check=False,
        timeout=30,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(SOURCE, tmp_path)
    return tmp_path


def test_n6_file_works_when_copied_alone(copy: Path, capture: HttpCapture) -> None:
    done = run("blocked", "s1", "need the spec", cwd=copy, IFNOTIFY_URL=capture.url)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == "✓ Notified coordinator: /AGENT/BLOCKED\n"
    assert capture.last["message"] == "need the spec"


def test_n7_command_line_needs_a_status_and_a_session(copy: Path) -> None:
    for arguments in ((), ("idle",), ("idle", "s1", "text", "more"), ("sleeping", "s1")):
        done = run(*arguments, cwd=copy)
        assert done.returncode == 2
        assert done.stderr.startswith(b"usage: agent_notify.py")
    asked = run("--help", cwd=copy)
    assert (asked.returncode, asked.stderr) == (0, b"")
    assert asked.stdout.startswith(b"usage: agent_notify.py")


def test_n9_script_goes_on_when_the_coordinator_is_down(copy: Path) -> None:
    done = run("idle", "s1", cwd=copy, IFNOTIFY_URL="http://127.0.0.1:1")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().startswith("✗ Failed to notify coordinator: ")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_n9_output_that_cannot_say_the_sign_is_no_error(
    monkeypatch: pytest.MonkeyPatch, notifier: AgentNotifier, encoding: str
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    assert notifier.idle() == {"status": "received"}
    assert raw.getvalue() == b"? Notified coordinator: /AGENT/IDLE\n"


def test_n9_output_that_is_gone_is_no_error(
    monkeypatch: pytest.MonkeyPatch, notifier: AgentNotifier
) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (closed, None):
        monkeypatch.setattr(sys, "stdout", stream)
        assert notifier.idle() == {"status": "received"}
