"""The shell functions: N7, in bash and in a plain POSIX shell."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness.http_capture import HttpCapture, http_capture

SCRIPT = Path(__file__).parents[3] / "clients/shell/notify.sh"
SHELLS = [name for name in ("bash", "dash", "busybox") if shutil.which(name)]
DOWN = "http://127.0.0.1:1"

NASTY = [
    "plain words",
    "double \" and single ' quotes",
    "back\\slash \\n \\u0041 \\",
    "line one\nline two\r\n\ttab",
    "$(touch pwned) `id` ${HOME} $1 !! ; rm -rf x & | > < * ? [a] ~",
    "-n",
    "-e",
    "--data-binary",
    "@/etc/passwd",
    "%s %d %%",
    "ümläut 日本語 \U0001f680 \u202e",
    "control \x01\x1f\x7f",
    " leading and trailing ",
    "\n",
]


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    name: str = request.param
    return ["busybox", "sh"] if name == "busybox" else [name]


@pytest.fixture
def capture() -> Iterator[HttpCapture]:
    with http_capture() as it:
        yield it


def run(
    shell: list[str], commands: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    variables = {
        "PATH": os.environ["PATH"],
        "SESSION_ID": "session-1-ndi",
        "CAPABILITIES": "video,ndi",
        **environment,
    }
    return subprocess.run(
        [*shell, "-c", commands, "shell", *arguments],
        env={name: value for name, value in variables.items() if value},
        capture_output=True,
        check=False,
        timeout=50,
    )


def test_n7_sourcing_registers_as_idle_and_says_so(shell: list[str], capture: HttpCapture) -> None:
    done = run(shell, f". {SCRIPT}", IFNOTIFY_URL=capture.url)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().splitlines() == [
        "✓ Notified coordinator: /AGENT/IDLE",
        "✓ session-1-ndi is registered as idle",
    ]
    path, body = capture.requests[0]
    assert path == "/agent/idle"
    del body["timestamp"]
    assert body == {
        "session_id": "session-1-ndi",
        "status": "idle",
        "last_task": None,
        "message": None,
        "capabilities": ["video", "ndi"],
        "tasks_completed": 0,
    }


def test_n7_each_function_sends_its_status(shell: list[str], capture: HttpCapture) -> None:
    commands = f""". {SCRIPT}
        notify_busy P0.1
        notify_blocked "need the spec"
        notify_help "need rust"
        notify_completed P0.1
        notify_completed P0.2
        notify_idle "gone for lunch"
        """
    done = run(shell, commands, IFNOTIFY_URL=capture.url)
    assert done.returncode == 0
    sent = [
        (path.removeprefix("/agent/"), body["last_task"], body["message"], body["tasks_completed"])
        for path, body in capture.requests[1:]
    ]
    assert sent == [
        ("busy", "P0.1", None, 0),
        ("blocked", "P0.1", "need the spec", 0),
        ("help", "P0.1", "need rust", 0),
        ("completed", "P0.1", None, 1),
        ("idle", "P0.1", None, 1),
        ("completed", "P0.2", None, 2),
        ("idle", "P0.2", None, 2),
        ("idle", "gone for lunch", None, 2),
    ]


def test_n7_any_text_passes_safely(shell: list[str], capture: HttpCapture, tmp_path: Path) -> None:
    commands = f'. {SCRIPT}; cd "$1"; shift; for text; do notify_blocked "$text"; done'
    done = run(shell, commands, str(tmp_path), *NASTY, IFNOTIFY_URL=capture.url)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [body["message"] for _, body in capture.requests[1:]] == NASTY
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), max_size=8))
def test_n7_text_survives_as_json(texts: list[str]) -> None:
    commands = f'. {SCRIPT} >/dev/null; for text; do _ifnotify_json "$text"; echo; done'
    for name in SHELLS:
        done = run([name], commands, *texts, SESSION_ID="")
        lines = done.stdout.decode("ascii").splitlines()
        assert [json.loads(line) or "" for line in lines] == texts


@settings(max_examples=25, deadline=None)
@given(st.binary().filter(lambda raw: b"\0" not in raw))
def test_n7_bytes_that_are_not_utf8_are_still_json(raw: bytes) -> None:
    commands = f'. {SCRIPT} >/dev/null; _ifnotify_json "$1"'
    done = subprocess.run(
        ["sh", "-c", commands, "shell", raw],
        capture_output=True,
        check=True,
        timeout=50,
        env={"PATH": os.environ["PATH"]},
    )
    text = json.loads(done.stdout.decode("ascii")) or ""
    assert text.replace("\ufffd", "") == raw.decode("utf-8", "ignore").replace("\ufffd", "")


@pytest.mark.parametrize(
    ("listed", "capabilities"),
    [
        ("video,ndi", ["video", "ndi"]),
        (" video , ndi\t,, real-time\n", ["video", "ndi", "real-time"]),
        ('a"b,c\\d', ['a"b', "c\\d"]),
        (",", []),
        ("", []),
    ],
)
def test_n7_capabilities_are_split_at_commas(
    shell: list[str], capture: HttpCapture, listed: str, capabilities: list[str]
) -> None:
    run(shell, f". {SCRIPT}", IFNOTIFY_URL=capture.url, CAPABILITIES=listed)
    assert capture.last["capabilities"] == capabilities


def test_n9_a_server_that_is_down_does_not_break_the_shell(shell: list[str]) -> None:
    commands = f"set -eu; . {SCRIPT}; notify_busy x; notify_completed x; notify_idle; echo on"
    done = run(shell, commands, IFNOTIFY_URL=DOWN)
    assert (done.returncode, done.stderr) == (0, b"")
    *failures, last = done.stdout.decode().splitlines()
    assert last == "on"
    assert len(failures) == 5
    assert all(line.startswith("✗ Failed to notify coordinator: curl: ") for line in failures)
    assert not any(line.endswith("000") for line in failures)


def test_n7_refusal_prints_its_code(shell: list[str], capture: HttpCapture) -> None:
    capture.code = 422
    done = run(shell, f". {SCRIPT}; notify_busy x", IFNOTIFY_URL=capture.url)
    assert done.stdout.decode().splitlines() == ["✗ Notification failed: 422"] * 2


def test_n7_without_a_session_it_says_what_is_missing(shell: list[str]) -> None:
    done = run(shell, f"set -eu; . {SCRIPT}; notify_busy x; echo on", SESSION_ID="")
    line = "✗ Failed to notify coordinator: SESSION_ID is not set"
    assert done.stdout.decode().splitlines() == [line, line, "on"]


def test_n7_without_curl_it_says_so(shell: list[str], tmp_path: Path) -> None:
    for tool in ("od", "awk", "mawk", "date", "tr", "printf"):
        if path := shutil.which(tool):
            (tmp_path / tool).symlink_to(path)
    shell = [shutil.which(shell[0]) or shell[0], *shell[1:]]
    done = run(shell, f". {SCRIPT}; echo on", PATH=str(tmp_path))
    first, last = done.stdout.decode().splitlines()
    assert first.startswith("✗ Failed to notify coordinator: ")
    assert "curl" in first
    assert last == "on"


def test_the_users_own_variables_and_options_stay(shell: list[str], capture: HttpCapture) -> None:
    commands = f"""url=mine body=mine answer=mine; set -f
        . {SCRIPT}; notify_busy x
        echo "$url $body $answer $-"
        """
    done = run(shell, commands, IFNOTIFY_URL=capture.url)
    last = done.stdout.decode().splitlines()[-1]
    assert last.startswith("mine mine mine ")
    assert "f" in last.split()[-1]


def test_a_number_in_the_environment_is_not_evaluated(shell: list[str], tmp_path: Path) -> None:
    trap = tmp_path / "evaluated"
    commands = f". {SCRIPT}; notify_completed x"
    run(shell, commands, IFNOTIFY_URL=DOWN, _ifnotify_completed=f"x[$(touch {trap})]")
    assert not trap.exists()


@pytest.mark.parametrize("url", ["-q", "file:///etc", "http://127.0.0.1:[1-3]"])
def test_an_address_is_only_an_address(shell: list[str], url: str) -> None:
    line = run(shell, f". {SCRIPT}", IFNOTIFY_URL=url).stdout.decode()
    assert line.startswith("✗ Failed to notify coordinator: curl: (")
    assert line.count("curl: ") == 1
