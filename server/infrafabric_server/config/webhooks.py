"""The settings of webhooks: names and addresses, and their secrets from the environment."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from infrafabric_server.config.values import ConfigError, is_loopback
from infrafabric_server.governor.escalation.webhook import Webhook

# Each has a connection of its own, and is told everything.
MAX_WEBHOOKS = 8
SLACK = "slack+"

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_MAX_URL = 2048


def webhooks(name: str, value: object) -> tuple[Webhook, ...]:
    """Return webhooks without their secrets: `NAME=URL` each, in a list or divided by spaces.

    Addresses may be secrets themselves: no message shows one.
    """
    given = value if isinstance(value, list | tuple) else str(value).split()
    found = tuple(_webhook(name, str(each)) for each in given)
    if len(found) > MAX_WEBHOOKS:
        raise ConfigError(f"{name}: at most {MAX_WEBHOOKS} can be told, not {len(found)}")
    if len({each.name for each in found}) < len(found):
        raise ConfigError(f"{name}: each needs a name of its own")
    return found


def signing(hooks: Iterable[Webhook], environ: Mapping[str, str]) -> tuple[Webhook, ...]:
    """Return webhooks with their secrets. Raises ConfigError naming a variable that is missing."""
    return tuple(hook if hook.slack else _signing(hook, environ) for hook in hooks)


def _webhook(setting: str, text: str) -> Webhook:
    name, equals, url = text.partition("=")
    if not equals or _NAME.fullmatch(name) is None:
        raise ConfigError(
            f"{setting}: must be NAME=URL; a name is 1 to 32 of a-z 0-9 - and begins with a letter"
        )
    slack = url.startswith(SLACK)
    url = url.removeprefix(SLACK)
    if not _is_good(url):
        raise ConfigError(
            f"{setting}: the address of {name} must be https://HOST/…, or http:// of a loopback"
            " address, without user and password"
        )
    return Webhook(name, url, slack)


def _is_good(url: str) -> bool:
    if len(url) > _MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def _signing(hook: Webhook, environ: Mapping[str, str]) -> Webhook:
    variable = f"INFRAFABRIC_WEBHOOK_SECRET_{hook.name.upper().replace('-', '_')}"
    secret = environ.get(variable, "")
    if not secret:
        raise ConfigError(
            f"webhook: what {hook.name} is told is signed; give the secret in {variable}"
        )
    return replace(hook, secret=secret)
