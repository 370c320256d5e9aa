"""The settings of a server as options of those commands that need them."""

import os
from collections.abc import Callable, Iterable
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infrafabric_cli.exit_codes import ExitCode
from infrafabric_cli.output import complain

if TYPE_CHECKING:
    from infrafabric_server.config import Settings

# What each setting is called in the help: the metavariable, and what it says.
_OPTIONS = {
    "grpc": ("HOST:PORT", "gRPC address, 127.0.0.1:50051 unless given; port 0 picks a free one."),
    "http": ("HOST:PORT", "HTTP address, 127.0.0.1:8765 unless given."),
    "data": ("DIR", "Folder of the store and the log: infrafabric-data unless given."),
    "store": ("KIND", "Where truth is kept: sqlite, or etcd://HOST:PORT,…/PREFIX (etcds: TLS)."),
    "bus": ("KIND", "How news travels: local, or nats://HOST:PORT,… (tls: TLS)."),
    "etcd_ca": ("FILE", "PEM of the authority that signed the certificates of etcd."),
    "etcd_cert": ("FILE", "PEM of our certificate for etcd."),
    "etcd_key": ("FILE", "PEM of its key."),
    "etcd_user": ("NAME", "User of etcd; its password is in a file or INFRAFABRIC_ETCD_PASSWORD."),
    "etcd_password_file": ("FILE", "File whose first line is that password."),
    "nats_ca": ("FILE", "PEM of the authority that signed the certificates of NATS."),
    "nats_cert": ("FILE", "PEM of our certificate for NATS."),
    "nats_key": ("FILE", "PEM of its key."),
    "nats_user": ("NAME", "User of NATS; its password is in a file or INFRAFABRIC_NATS_PASSWORD."),
    "nats_password_file": ("FILE", "File whose first line is that password."),
    "nats_credentials": ("FILE", "Credentials file (.creds) for NATS, instead of a user."),
    "nats_subject": ("NAME", "First level of the subjects on NATS: the prefix in etcd by default."),
    "witness_replicas": ("N", "NATS servers that keep the witness log: 1, 3 or 5."),
    "policy": ("FILE", "YAML file with the policy; it is read again when it changes."),
    "webhook": ("NAME=URL", "Who is told of escalations; repeat it. slack+URL takes Slack's form."),
}
ALL = tuple(_OPTIONS)
# What is given several times.
_REPEATED = frozenset({"webhook"})
# What tells where a fabric is, and what is shown there.
PLACES = tuple(name for name in ALL if name not in {"grpc", "http", "policy", "webhook"})

Flags = dict[str, object]


def with_settings(
    names: Iterable[str],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command options for settings; it gets those that were given as `flags`.

    Args:
        names: of the settings.
    """
    chosen = {name: _parameter(name) for name in names}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in signature(command).parameters.values() if p.name != "flags"]

        def run(**values: Any) -> None:
            flags = {name: values.pop(name) for name in chosen}
            command(flags={k: v for k, v in flags.items() if v is not None}, **values)

        run.__name__ = command.__name__
        run.__doc__ = command.__doc__
        parameters = [*own, *chosen.values()]
        # These two are what typer reads the options from.
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        run.__signature__ = signature(command).replace(  # type: ignore[attr-defined]  # a function takes any attribute
            parameters=[p.replace(kind=Parameter.KEYWORD_ONLY) for p in parameters],
            return_annotation=None,
        )
        return run

    return decorate


def load(flags: Flags, config: Path | None, *, alone: bool = False) -> "Settings":
    """Return the settings that flags, environment and file add up to, or `alone` the flags.

    Raises:
        typer.Exit: a setting breaks its rule; which one is on standard error.
    """
    # No command but those that need it loads the server.
    from infrafabric_server.config import ConfigError, Settings

    try:
        return Settings.load(flags, {} if alone else os.environ, config)
    except ConfigError as error:
        complain(str(error))
        raise typer.Exit(ExitCode.USAGE) from None


def _parameter(name: str) -> Parameter:
    metavar, text = _OPTIONS[name]
    option = typer.Option("--" + name.replace("_", "-"), metavar=metavar, help=text)
    kind: Any = list[str] | None if name in _REPEATED else str | None
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option])
