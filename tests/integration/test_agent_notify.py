"""The helpers for agents against the real gateway: N4, N5, N6, N7."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agent_notify import AgentNotifier, quick_notify
from tests.harness.http_get import http_get
from tests.harness.server import ServerProcess

SCRIPT = Path(__file__).parents[2] / "clients/shell/notify.sh"


@pytest.fixture(autouse=True)
def address(shared_server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"http://{shared_server.http}"
    monkeypatch.setenv("IFNOTIFY_URL", url)
    return url


def status(address: str) -> dict[str, Any]:
    _, body = http_get(f"{address}/status", timeout=10)
    answer: dict[str, Any] = json.loads(body)
    return answer


def test_n4_n6_life_of_an_agent(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    agent = AgentNotifier("py-1", ["video", "ndi"])
    idle = agent.idle("session started")
    assert idle is not None
    assert idle["status"] == "received"
    assert "py-1" in status(address)["idle_queue"]
    assert agent.busy("P0.1.1") is not None
    assert "py-1" not in status(address)["idle_queue"]
    agent.completed("P0.1.1", cost=2.50)
    agent.completed("P0.1.2", cost=0.25)
    shown = status(address)["agents"]["py-1"]
    assert (shown["status"], shown["last_task"]) == ("idle", "P0.1.2")
    assert (shown["cost_spent"], shown["tasks_completed"]) == (2.75, 2)
    assert shown["capabilities"] == ["ndi", "video"]
    out = capsys.readouterr().out
    assert "✗" not in out
    assert out.count("✓ Notified coordinator: /AGENT/COMPLETED\n") == 2


def test_n5_blocked_and_help_are_answered(address: str) -> None:
    AgentNotifier("py-helper", ["rust", "wasm"]).idle()
    agent = AgentNotifier("py-2", ["rust"])
    blocked = agent.blocked("waiting for the spec")
    assert blocked is not None
    assert blocked["escalated"] is True
    assert status(address)["agents"]["py-2"]["message"] == "waiting for the spec"
    helped = agent.help("wasm does not link")
    assert helped is not None
    assert helped["helpers_found"] == len(helped["helpers"])
    assert "py-helper" in helped["helpers"]


def test_n4_bad_input_is_refused_with_422(capsys: pytest.CaptureFixture[str]) -> None:
    assert AgentNotifier("no spaces allowed", []).idle() is None
    assert capsys.readouterr().out == "✗ Notification failed: 422\n"


def test_n7_quick_notify(address: str) -> None:
    assert quick_notify("blocked", "py-3", "any\ntext “at all” \\ \x01") is not None
    assert status(address)["agents"]["py-3"]["message"] == "any\ntext “at all” \\ \x01"


@pytest.mark.parametrize("shell", [name for name in ("bash", "dash") if shutil.which(name)])
def test_n7_shell_functions(shell: str, address: str) -> None:
    commands = f""". {SCRIPT}
        notify_busy 'P0.1 "quoted" \\ $HOME'
        notify_blocked "two
lines"
        notify_help 'need help'
        notify_completed P0.1
        notify_completed P0.2
        notify_idle 'gone for lunch'
        """
    name = f"sh-{shell}"
    done = subprocess.run(
        [shell, "-c", commands],
        env={
            "PATH": os.environ["PATH"],
            "IFNOTIFY_URL": address,
            "SESSION_ID": name,
            "CAPABILITIES": "video, ndi",
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    lines = done.stdout.splitlines()
    assert lines[:2] == [
        "✓ Notified coordinator: /AGENT/IDLE",
        f"✓ {name} is registered as idle",
    ]
    assert [line for line in lines if line.startswith("✗")] == []
    agent = status(address)["agents"][name]
    assert (agent["status"], agent["last_task"]) == ("idle", "gone for lunch")
    assert (agent["tasks_completed"], agent["capabilities"]) == (2, ["ndi", "video"])
