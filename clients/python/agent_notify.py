"""Tells the coordinator what an agent is doing: one file, standard library only.

Copy it next to an agent, or run it:

    python agent_notify.py STATUS SESSION [MESSAGE]

In Python::

    from agent_notify import AgentNotifier

    notifier = AgentNotifier("session-1-ndi", ["video", "ndi"])
    notifier.busy("P0.1.2")
    notifier.completed("P0.1.2", cost=2.50)   # then idle by itself

The coordinator's address comes from IFNOTIFY_URL, http://localhost:8765 unless it is set.
Each notification prints one line and never raises: an agent goes on working when the
coordinator is down.
"""

import http.client
import json
import math
import os
import sys
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, SupportsFloat
from urllib.parse import urlsplit

DEFAULT_URL = "http://localhost:8765"
STATUSES = ("idle", "busy", "blocked", "completed", "help")

# Seconds after which a notification is given up: the agent has work to do.
TIMEOUT = 5.0

_MAX_ANSWER_BYTES = 1024 * 1024

# All that a broken address, connection or answer can raise.
_FAILURES = (OSError, http.client.HTTPException, ValueError, TypeError, RecursionError)


class _FailedError(Exception):
    """The coordinator answered with another code than 200."""


class AgentNotifier:
    """Reports the status of one agent.

    Args:
        session_id: id of the agent, for example `session-1-ndi`.
        capabilities: what it can do.

    Attributes:
        server_url: where the coordinator is, from IFNOTIFY_URL.
        cost_spent: US dollars that this process has spent on completed tasks.
        tasks_completed: tasks that this process has completed.
        current_task: the task that it named last, None before the first.
    """

    def __init__(self, session_id: str, capabilities: Iterable[str]) -> None:
        self.session_id = session_id
        self.capabilities = list(capabilities)
        self.server_url = os.environ.get("IFNOTIFY_URL") or DEFAULT_URL
        self.cost_spent = 0.0
        self.tasks_completed = 0
        self.current_task: str | None = None

    def idle(self, last_task: str | None = None) -> dict[str, Any] | None:
        """Report that the agent would take work.

        Args:
            last_task: what it did last; the current task unless given.

        Returns:
            The coordinator's answer, with `queue_position`; None when there was none.
        """
        return self._notify("idle", last_task=last_task or self.current_task, waiting_since=_now())

    def busy(self, task: str) -> dict[str, Any] | None:
        """Report that the agent works on `task`; return the answer or None."""
        self.current_task = task
        return self._notify("busy", last_task=task)

    def blocked(self, reason: str) -> dict[str, Any] | None:
        """Report that the agent cannot go on, and why; return the answer or None."""
        return self._notify("blocked", last_task=self.current_task, message=reason)

    def completed(self, task: str, cost: SupportsFloat = 0.0) -> dict[str, Any] | None:
        """Report that the agent has finished `task`, and then that it is idle.

        Args:
            task: what it finished.
            cost: what that cost, in US dollars; nothing is reported with what is not such
                a number, which would spoil the total for good.

        Returns:
            The answer to the first of the two reports, or None.
        """
        amount = _amount(cost)
        if amount is None:
            _say(f"✗ Failed to notify coordinator: a cost of {cost!r} is no number of US dollars")
            return None
        self.tasks_completed += 1
        self.cost_spent += amount
        self.current_task = task
        answer = self._notify("completed", last_task=task)
        self.idle(task)
        return answer

    def help(self, reason: str) -> dict[str, Any] | None:
        """Ask for help, and say with what.

        Returns:
            The answer, with `helpers` (ids of idle agents that could help); None when
            there was none.
        """
        return self._notify("help", last_task=self.current_task, message=reason)

    def _notify(self, status: str, **details: object) -> dict[str, Any] | None:
        path = f"/agent/{status}"
        body = {
            "session_id": self.session_id,
            "status": status,
            "timestamp": _now(),
            "capabilities": self.capabilities,
            "cost_spent": self.cost_spent,
            "tasks_completed": self.tasks_completed,
            **details,
        }
        try:
            answer = _in_time(self.server_url.rstrip("/") + path, body)
        except _FailedError as error:
            _say(f"✗ Notification failed: {error}")
        except _FAILURES as error:
            _say(f"✗ Failed to notify coordinator: {str(error) or type(error).__name__}")
        else:
            _say(f"✓ Notified coordinator: {path.upper()}")
            return answer
        return None


def quick_notify(status: str, session_id: str, message: str = "") -> dict[str, Any] | None:
    """Report one status in one call.

    Args:
        status: idle, busy, blocked, completed or help.
        session_id: id of the agent.
        message: the task (idle, busy, completed) or the reason (blocked, help).

    Returns:
        The coordinator's answer, or None.
    """
    notifier = AgentNotifier(session_id, [])
    if status not in STATUSES:
        _say(f"✗ Failed to notify coordinator: {status!r} is not one of {', '.join(STATUSES)}")
        return None
    if status == "idle":
        return notifier.idle(message or None)
    reports = {
        "busy": notifier.busy,
        "blocked": notifier.blocked,
        "completed": notifier.completed,
        "help": notifier.help,
    }
    return reports[status](message)


def main(arguments: list[str]) -> int:
    """Report what the command line says; return the exit code.

    A coordinator that is down is no failure of the script that notifies it: that is 0.
    """
    usage = f"usage: agent_notify.py {{{','.join(STATUSES)}}} SESSION [MESSAGE]"
    if arguments in (["--help"], ["-h"]):
        _say(usage)
        return 0
    if len(arguments) not in (2, 3) or arguments[0] not in STATUSES:
        sys.stderr.write(usage + "\n")
        return 2
    quick_notify(*arguments)
    return 0


def _in_time(url: str, body: dict[str, object]) -> dict[str, Any]:
    # In a thread, because nothing else bounds the lookup of a name or an answer that
    # trickles in byte by byte.
    outcome: list[dict[str, Any] | Exception] = []

    def send() -> None:
        try:
            outcome.append(_post(url, body))
        except (_FailedError, *_FAILURES) as error:
            outcome.append(error)

    thread = threading.Thread(target=send, name="agent_notify", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        # There are none any more, as at the end of a process: the socket's own limit has to do.
        send()
    else:
        thread.join(TIMEOUT)
    if not outcome:
        raise TimeoutError(f"no answer within {TIMEOUT:g} s")
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def _post(url: str, body: dict[str, object]) -> dict[str, Any]:
    parts = urlsplit(url)
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    if parts.scheme not in kinds or not parts.hostname:
        raise ValueError(f"IFNOTIFY_URL must begin with http:// or https://, is {url}")
    connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=TIMEOUT)
    try:
        text = json.dumps(body, allow_nan=False)
        headers = {"Content-Type": "application/json", "Connection": "close"}
        connection.request("POST", parts.path, text.encode(), headers)
        with connection.getresponse() as response:
            if response.status != http.client.OK:
                raise _FailedError(response.status)
            answer: object = json.loads(response.read(_MAX_ANSWER_BYTES))
    except http.client.RemoteDisconnected:
        raise
    except http.client.BadStatusLine:
        raise ValueError(f"what answers at {parts.netloc} does not speak HTTP") from None
    finally:
        connection.close()
    if not isinstance(answer, dict):
        raise TypeError("the answer is not a JSON object")
    return answer


def _amount(cost: object) -> float | None:
    try:
        amount = float(str(cost))
    except ValueError:
        return None
    return amount if math.isfinite(amount) and amount >= 0 else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _say(text: str) -> None:
    # Standard output may be ASCII only, closed, or not there at all.
    stream = sys.stdout
    # Nothing in a reason may break the line or move a cursor.
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split()) + "\n"
    try:
        encoding = stream.encoding or "ascii"
        stream.write(line.encode(encoding, "replace").decode(encoding))
        stream.flush()
    except (OSError, ValueError, AttributeError):
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
