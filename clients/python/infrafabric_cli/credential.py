"""`infrafabric credential`: what the holder of a claim may reach, while the claim lives."""

import sys
from datetime import timedelta
from typing import Annotated

import typer

from infrafabric import Client
from infrafabric.v1.chassis_credential_pb2 import (
    CREDENTIAL_STATE_LIVE,
    CREDENTIAL_STATE_UNSPECIFIED,
    CredentialDenial,
    CredentialEndpoint,
    CredentialState,
    ListedCredential,
)
from infrafabric_cli.exit_codes import ExitCode
from infrafabric_cli.layout import Column, number, text
from infrafabric_cli.names import moment, short
from infrafabric_cli.options import DEFAULT_SERVER, Attempt, Json, Server, Swarm, endpoint
from infrafabric_cli.output import as_json, complain, print_json, print_rows, say
from infrafabric_cli.running import must_exist, run

app = typer.Typer(no_args_is_help=True)

_COLUMNS = (
    *map(Column, ("credential", "swarm", "task")),
    *(number("attempt"), Column("state"), Column("ends"), text("allows")),
)
_NONE = "no credential is live; without --live, those that have ended are listed too"


@app.command()
def issue(
    task: Annotated[str, typer.Argument(metavar="TASK", help="Id of the claimed task.")],
    *,
    swarm: Swarm,
    attempt: Attempt,
    allow: Annotated[
        list[CredentialEndpoint],
        typer.Option(
            "--allow",
            parser=endpoint,
            metavar='"METHOD,... URL"',
            help="Where requests may go, and below it; repeat it.",
        ),
    ],
    seconds: Annotated[
        float | None,
        typer.Option(
            min=1, max=86_400, metavar="SECONDS", help="Longest life; 15 minutes unless given."
        ),
    ] = None,
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Issue a credential to the holder of a claim, and print its token: there is no other copy."""
    ttl = None if seconds is None else timedelta(seconds=seconds)

    async def command(client: Client) -> None:
        issued = await client.credentials.issue(swarm, task, attempt, allow, ttl=ttl)
        if json_output:
            print_json({"credential": as_json(issued.credential), "token": issued.token})
            return
        say(issued.token)
        complain(
            f"credential {issued.credential.credential_id} ends with attempt {attempt} of {task},"
            f" at the latest {moment(issued.credential.expire_time)}"
        )

    run(server, command)


@app.command()
def validate(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="Of the request.")] = "",
    url: Annotated[str, typer.Argument(metavar="URL", help="Address of the request.")] = "",
    *,
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Tell whether the token on standard input allows a request, or anything at all.

    The token is no argument, as those can be seen by every user of the machine.
    Exit code 1: it does not.
    """
    token = sys.stdin.readline().strip()

    async def command(client: Client) -> None:
        verdict = await client.credentials.validate(token, method, url)
        known = verdict.credential
        if json_output:
            print_json(as_json(verdict))
        elif verdict.valid:
            say(f"valid: attempt {known.attempt} of {known.task_id} by {known.swarm_id}")
        else:
            say(f"not valid: {short(CredentialDenial.DESCRIPTOR, verdict.denial)}")
        if not verdict.valid:
            raise typer.Exit(ExitCode.REFUSED)

    run(server, command)


@app.command()
def revoke(
    credential: Annotated[
        str, typer.Argument(metavar="ID", help="Its id, which is also the middle of its token.")
    ],
    *,
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """End a credential at once, on every server."""

    async def command(client: Client) -> None:
        revoked = await client.credentials.revoke(credential)
        if json_output:
            print_json({"credential_id": credential, "revoked": revoked})
        else:
            say(f"{credential}: revoked" if revoked else f"{credential}: nothing to revoke")

    run(server, command)


@app.command("list")
def list_credentials(
    swarm: Annotated[str, typer.Argument(metavar="SWARM", help="Only those of a swarm.")] = "",
    *,
    live_only: Annotated[bool, typer.Option("--live", help="Only those that are live.")] = False,
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """List credentials, what they are for and whether they are live; nobody sees their secrets."""
    state = CREDENTIAL_STATE_LIVE if live_only else CREDENTIAL_STATE_UNSPECIFIED

    async def command(client: Client) -> None:
        found = [each async for each in client.credentials.list(swarm, state)]
        if not found:
            await must_exist(client, swarm=swarm)
        if json_output:
            print_json({"credentials": [as_json(each) for each in found]})
            return
        print_rows(_COLUMNS, map(_row, found), _NONE if live_only else "there is no credential")

    run(server, command)


def _row(listed: ListedCredential) -> tuple[str, ...]:
    known = listed.credential
    allows = [f"{','.join(each.methods)} {each.url}" for each in known.endpoints]
    return (
        *(known.credential_id, known.swarm_id, known.task_id, str(known.attempt)),
        *(short(CredentialState.DESCRIPTOR, listed.state), moment(known.expire_time)),
        " ".join(allows),
    )
