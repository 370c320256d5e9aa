"""`infrafabric broadcast`: speaks to everyone."""

from typing import Annotated

import typer

from infrafabric import Client
from infrafabric_cli.options import DEFAULT_SERVER, Json, Server
from infrafabric_cli.output import print_json, say
from infrafabric_cli.running import run


def broadcast(
    message: Annotated[
        str, typer.Argument(metavar="MESSAGE", help="The text, at most 4096 characters.")
    ],
    *,
    request_id: Annotated[
        str, typer.Option(metavar="ID", help="Makes a repeat harmless for 24 hours.")
    ] = "",
    server: Server = DEFAULT_SERVER,
    json_output: Json = False,
) -> None:
    """Send a text to every session and everyone who watches."""

    async def command(client: Client) -> None:
        sessions = await client.statuses.broadcast(message, request_id=request_id)
        if json_output:
            print_json({"sessions": sessions})
        else:
            say(f"sent to {sessions} sessions")

    run(server, command)
