"""`infrafabric store`: a whole fabric into a file, out of one, and from one place to another."""

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from infrafabric_cli import settings
from infrafabric_cli.exit_codes import ExitCode
from infrafabric_cli.options import Json
from infrafabric_cli.output import complain, print_json, say
from infrafabric_cli.settings import PLACES, Flags, with_settings

if TYPE_CHECKING:
    from infrafabric_server.config import Settings
    from infrafabric_server.transfer.dumpfile import Summary
    from infrafabric_server.witness.models import Sealed

app = typer.Typer(no_args_is_help=True)

Config = Annotated[Path | None, typer.Option(metavar="FILE", help="TOML file with settings.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="The dump.")]
ResultT = TypeVar("ResultT")

# With `migrate`, the two places take the place of these.
_ACCESS = tuple(name for name in PLACES if name not in ("data", "store"))


@app.command("dump")
@with_settings(PLACES)
def dump(flags: Flags, file: File, config: Config = None, json_output: Json = False) -> None:
    """Write a whole fabric into a file: all keys of one revision, and the witness log up to it.

    Servers may go on meanwhile. The fabric is the one in --data, or in
    --store and --bus; the settings are those of `infrafabric serve`. The file
    is text, one JSON object on each line, with a checksum at its end; it
    appears when it is whole. It holds all that the fabric knows: only its
    owner may read it.

    What lives on a lease is left out: sessions, which their swarms open anew,
    and the leader. A claim made in a session stays and is taken back by the
    first server that finds no such session: its task is offered again under
    the next attempt. One made outside keeps its time.
    """
    chosen = settings.load(flags, config)

    async def work() -> "Summary":
        from infrafabric_server.clock import SystemClock
        from infrafabric_server.transfer.opening import place_of
        from infrafabric_server.transfer.transfer import dump

        async with place_of(chosen, os.environ) as place:
            return await dump(await place.source(), file, SystemClock().now())

    _report(_run(work()), f"dumped {_name(chosen)} into {file}", json_output=json_output)


@app.command("restore")
@with_settings(PLACES)
def restore(flags: Flags, file: File, config: Config = None, json_output: Json = False) -> None:
    """Make of a dump a fabric in --data, or in --store and --bus, where none may be.

    The file is read to its end and checked first. No server starts on a
    fabric that is only partly there; when the restore was cut off, repeat it.
    In a folder every key has the revisions that it had; in etcd it gets new,
    later ones in the same order, so ages, attempts and epochs go on.
    """
    chosen = settings.load(flags, config)

    async def work() -> "Summary":
        from infrafabric_server.transfer.opening import place_of
        from infrafabric_server.transfer.transfer import restore

        async with place_of(chosen, os.environ) as place:
            return await restore(file, place)

    _report(_run(work()), f"restored {file} to {_name(chosen)}", json_output=json_output)


@app.command("migrate")
@with_settings(_ACCESS)
def migrate(
    flags: Flags,
    source: Annotated[str, typer.Option("--from", metavar="PLACE", help="Where the fabric is.")],
    target: Annotated[str, typer.Option("--to", metavar="PLACE", help="Where it is to be.")],
    dump: Annotated[
        Path, typer.Option(metavar="FILE", help="The dump that is made on the way, and kept.")
    ] = Path("infrafabric-migration.dump"),
    config: Config = None,
    json_output: Json = False,
) -> None:
    """Take a fabric from a data folder to etcd and NATS, or back: dump, restore, compare.

    A PLACE is a data folder or etcd://HOST:PORT,…/PREFIX; --bus and the other
    settings are about the one on etcd. Stop every server of the fabric first.
    Afterwards every key, its value and age, and every entry of the witness
    log is compared with the source, which stays as it is: do not start a
    server on it again.
    """
    if _is_folder(source) is _is_folder(target):
        complain("--from, --to: one is a data folder, and the other begins with etcd://")
        raise typer.Exit(ExitCode.USAGE)
    ends = [_end(each, flags, config) for each in (source, target)]

    async def work() -> "Summary":
        from infrafabric_server.clock import SystemClock
        from infrafabric_server.transfer.opening import place_of
        from infrafabric_server.transfer.transfer import migrate

        async with place_of(ends[0], os.environ) as one, place_of(ends[1], os.environ) as other:
            return await migrate(one, dump, other, SystemClock().now())

    done = f"migrated {_name(ends[0])} to {_name(ends[1])}, with the dump {dump}"
    _report(_run(work()), done, json_output=json_output)


@app.command("restore-log")
@with_settings(PLACES)
def restore_log(flags: Flags, config: Config = None, json_output: Json = False) -> None:
    """Put a witness log that NATS lost back into its stream, from a replica's --data.

    Stop every server first. The copy is checked, and must go as far as the
    store says that the log was sealed: take the longest that `infrafabric
    witness verify --data` finds. What the stream has already stays.
    """
    chosen = settings.load(flags, config)
    if not chosen.shared:
        complain("store, bus: a fabric in a folder has no log in NATS; give --store and --bus")
        raise typer.Exit(ExitCode.USAGE)

    async def work() -> "Sealed | None":
        from infrafabric_server.transfer.lost_log import put_back
        from infrafabric_server.transfer.opening import cluster_of

        async with cluster_of(chosen, os.environ) as place:
            return await put_back(chosen.data, place)

    sealed = _run(work())
    entries, head = (0, "") if sealed is None else (sealed.sequence, sealed.hash)
    if json_output:
        print_json({"entries": entries, "hash": head})
    else:
        say(f"the log of {_name(chosen)} is that of {chosen.data}")
        say(f"{entries} witness entries, the last one with the hash {head}")


def _end(place: str, flags: Flags, config: Path | None) -> "Settings":
    if _is_folder(place):
        return settings.load({"data": place, "store": "sqlite", "bus": "local"}, None, alone=True)
    return settings.load({**flags, "store": place}, config)


def _is_folder(place: str) -> bool:
    return "://" not in place


def _name(chosen: "Settings") -> str:
    return str(chosen.etcd_address()) if chosen.shared else str(chosen.data)


def _run(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    from infrafabric_server.bus.address import BusRefusedError
    from infrafabric_server.logs import configure_logs
    from infrafabric_server.store.protocol import (
        StoreError,
        StoreUnavailable,
    )
    from infrafabric_server.transfer.dumpfile import ChainBrokenError, DumpError

    configure_logs("critical")
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except ChainBrokenError as error:
        reason, code = str(error), ExitCode.TAMPERED
    except DumpError as error:
        reason, code = str(error), ExitCode.USAGE
    except StoreUnavailable as error:
        reason, code = str(error), ExitCode.UNREACHABLE
    except (StoreError, BusRefusedError) as error:
        reason, code = str(error), ExitCode.REFUSED
    complain(reason)
    raise typer.Exit(code)


def _report(summary: "Summary", done: str, *, json_output: bool) -> None:
    if json_output:
        print_json(
            {
                "keys": summary.keys,
                "leased": summary.leased,
                "entries": summary.entries,
                "hash": summary.head,
            }
        )
        return
    say(done)
    say(f"{summary.keys} keys, {summary.leased} on leases left out")
    say(f"{summary.entries} witness entries, the last one with the hash {summary.head}")
