"""What a swarm does with a task, without a session: claim, progress, complete, fail, release."""

from datetime import datetime
from typing import Annotated, Any

import typer

from infrafabric import Client
from infrafabric.failures import Provider
from infrafabric.v1.coordinator_claim_pb2 import ClaimTaskResponse
from infrafabric.v1.task_pb2 import (
    TASK_STATE_AVAILABLE,
    TASK_STATE_FAILED,
    ClaimRefusal,
    Task,
)
from infrafabric_cli.exit_codes import ExitCode
from infrafabric_cli.halts import tell_halts
from infrafabric_cli.names import moment, short
from infrafabric_cli.options import (
    DEFAULT_SERVER,
    JSON_METAVAR,
    TIMES,
    Attempt,
    Json,
    Server,
    Swarm,
    instant,
    json_object,
    usd,
)
from infrafabric_cli.output import as_json, print_json, say
from infrafabric_cli.running import run
from infrafabric_cli.tasks.read import TaskId
from infrafabric_cli.tasks.show import show, state


def claim(
    task: TaskId, *, swarm: Swarm, server: Server = DEFAULT_SERVER, json_output: Json = False
) -> None:
    """Claim a task; exit code 1 when the claim is lost.

    The claim ends by itself after a while (5 minutes unless the server says otherwise)
    without `extend` or `progress`. The printed attempt goes with every later command.
    """

    async def command(client: Client) -> None:
        answer = await client.claims.claim(swarm, task)
        if json_output:
            print_json(as_json(answer))
        else:
            say(_outcome(task, answer))
        if not answer.claimed:
            raise typer.Exit(ExitCode.REFUSED)

    run(server, command)


def extend(
    task: TaskId,
    *,
    swarm: Swarm,
    attempt: Attempt,
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Give a claim its whole time again."""

    async def command(client: Client) -> None:
        show(await client.claims.extend(swarm, task, attempt), json_output=json_output)

    run(server, command)


def progress(
    task: TaskId,
    percent: Annotated[int, typer.Argument(metavar="PERCENT", help="0, 25, 50, 75 or 100.")],
    *,
    swarm: Swarm,
    attempt: Attempt,
    note: Annotated[str, typer.Option(metavar="TEXT", help="What was reached.")] = "",
    blocked_on: Annotated[
        list[str] | None,
        typer.Option("--blocked-on", metavar="TEXT", help="What it waits for; repeat it."),
    ] = None,
    next_action: Annotated[
        str, typer.Option("--next", metavar="TEXT", help="What comes next.")
    ] = "",
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Report a milestone, which extends the claim."""

    async def command(client: Client) -> None:
        changed = await client.claims.progress(
            swarm,
            task,
            attempt,
            percent,
            note=note,
            blocked_on=blocked_on or (),
            next_action=next_action,
        )
        show(changed, json_output=json_output)

    run(server, command)


def complete(
    task: TaskId,
    *,
    swarm: Swarm,
    attempt: Attempt,
    result: Annotated[
        Any, typer.Option(parser=json_object, metavar=JSON_METAVAR, help="What was produced.")
    ] = None,
    cost: Annotated[
        int | None, typer.Option(parser=usd, metavar="USD", help="What it cost.")
    ] = None,
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Complete a task for good."""

    async def command(client: Client) -> None:
        done = await client.claims.complete(swarm, task, attempt, result, cost_micros=cost or 0)
        show(done, json_output=json_output)

    run(server, command)


def fail(
    task: TaskId,
    reason: Annotated[str, typer.Argument(metavar="REASON", help="Why.")],
    *,
    swarm: Swarm,
    attempt: Attempt,
    permanent: Annotated[
        bool, typer.Option("--permanent", help="No attempt can succeed: fail for good.")
    ] = False,
    provider: Annotated[
        Provider | None,
        typer.Option(
            metavar="quota|rate",
            help="Its provider refused the swarm: no quota is left, or the rate is too high.",
        ),
    ] = None,
    retry_time: Annotated[
        datetime | None,
        typer.Option(parser=instant, metavar="TIME", help=f"Not to be offered before; {TIMES}."),
    ] = None,
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """End an attempt without a result; the retry policy decides what follows."""
    if permanent and provider is not None:
        raise typer.BadParameter("give either --permanent or --provider")

    async def command(client: Client) -> None:
        failed = await client.claims.fail(
            swarm,
            task,
            attempt,
            reason,
            permanent=permanent,
            provider=provider,
            retry_time=retry_time,
        )
        if json_output:
            print_json(as_json(failed))
            return
        say(f"{task}: failed, attempt {attempt}; {_fate(failed)}")
        await tell_halts(client, swarm)

    run(server, command)


def release(
    task: TaskId,
    *,
    swarm: Swarm,
    attempt: Attempt,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why.")] = "",
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Give a task back."""

    async def command(client: Client) -> None:
        released = await client.claims.release(swarm, task, attempt, reason)
        show(released, json_output=json_output)

    run(server, command)


def _fate(failed: Task) -> str:
    """Return what became of a task of which an attempt failed."""
    if failed.state == TASK_STATE_FAILED:
        return "for good"
    if failed.state != TASK_STATE_AVAILABLE:
        return f"now {state(failed)}"
    after = moment(failed.available_time)
    return f"available again{f' from {after}' if after else ''}"


def _outcome(task: str, answer: ClaimTaskResponse) -> str:
    if answer.claimed:
        end = moment(answer.task.claim_expire_time)
        return f"{task}: claimed, attempt {answer.task.attempt}" + (f", until {end}" if end else "")
    refusal = short(ClaimRefusal.DESCRIPTOR, answer.refusal).replace("_", " ")
    owner = f" (held by {answer.owner_swarm_id})" if answer.owner_swarm_id else ""
    why = f": {answer.refusal_detail}" if answer.refusal_detail else ""
    return f"{task}: not claimed, {refusal}{owner}{why}"
