"""Commands of `infrafabric` that run in the test's own process."""

import json
from collections.abc import Callable
from typing import Any

from typer.testing import CliRunner, Result

from infrafabric_cli.main import app
from tests.harness.server import ServerProcess

Cli = Callable[..., Result]


def commands(server: ServerProcess) -> Cli:
    """Return what runs a command on a server; `code` is what it must end with, None is 0 or 1."""

    def run(*arguments: str, code: int | None = 0, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(
            app, arguments, stdin, env={"INFRAFABRIC_SERVER": server.grpc, "COLUMNS": "200"}
        )
        assert result.exit_code in ((0, 1) if code is None else (code,)), result.output
        return result

    return run


def document(result: Result) -> Any:
    """Return what a command printed with `--json`."""
    return json.loads(result.stdout)
