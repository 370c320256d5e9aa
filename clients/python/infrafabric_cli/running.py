"""Runs what a command does against the fabric, and turns its end into an exit code."""

import asyncio
import sys
from collections.abc import Awaitable, Callable

import typer

from infrafabric import Client
from infrafabric.calls import Calls
from infrafabric.errors import FabricError, InvalidRequest, Unreachable
from infrafabric_cli.exit_codes import ExitCode
from infrafabric_cli.outages import Outages
from infrafabric_cli.output import abandon, complain


def run(
    server: str,
    command: Callable[[Client], Awaitable[None]],
    outages: Outages | None = None,
) -> None:
    """Run a command with a client.

    Args:
        server: the fabric, as `host:port`.
        command: what to do; it raises FabricError when it cannot.
        outages: hears when what goes on over cuts has no answer; they are told, unless given.

    Raises:
        typer.Exit: it failed; the reason is on standard error.
    """
    try:
        asyncio.run(_with_client(server, command, outages or Outages(server)))
        sys.stdout.flush()
    except BrokenPipeError:
        abandon(sys.stdout)
        raise typer.Exit(ExitCode.PIPE_CLOSED) from None
    except OSError as error:
        abandon(sys.stdout)
        complain(f"the output cannot be written: {error.strerror}")
        raise typer.Exit(ExitCode.REFUSED) from None
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except Unreachable as error:
        complain(f"no answer from {server}: {error.message}")
        complain("Is the server running? Start one with `infrafabric serve`, or name it: --server.")
        raise typer.Exit(ExitCode.UNREACHABLE) from None
    except FabricError as error:
        complain(describe(error))
        raise typer.Exit(code_of(error)) from None


def code_of(error: FabricError) -> ExitCode:
    """Return the exit code for a refusal."""
    return ExitCode.USAGE if isinstance(error, InvalidRequest) else ExitCode.REFUSED


def describe(error: FabricError) -> str:
    """Return a refusal on one line: reason, text, and when to try again."""
    reason = error.reason.removeprefix("ERROR_REASON_").lower().replace("_", " ")
    again = f" (try again in {error.retry_after:g} s)" if error.retry_after else ""
    return f"{reason or 'refused'}: {error.message}{again}"


async def _with_client(
    server: str, command: Callable[[Client], Awaitable[None]], outages: Outages
) -> None:
    async def wait(seconds: float) -> None:
        # Only what goes on over cuts waits.
        await outages.wait(seconds, lambda: first_answer(client))

    async with Client(server, calls=Calls(sleep=wait)) as client:
        await command(client)


async def must_exist(client: Client, *, swarm: str = "", task: str = "") -> None:
    """Return if a swarm and a task are there: of others an empty list would tell nothing.

    Raises:
        FabricError: one of them is not, or there is no answer.
    """
    if swarm:
        await client.swarms.get(swarm)
    if task:
        await client.tasks.get(task)


async def first_answer(client: Client) -> None:
    """Return when the fabric has answered: a watch goes on over cuts, and would wait in silence.

    Raises:
        FabricError: it does not answer.
    """
    await anext(client.statuses.pages())
