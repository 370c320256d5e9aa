"""A webhook: where it is, what it is told, and how that is signed."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from infrafabric_server.governor.escalation.models import Delivery, Escalation

_SLACK_ESCAPES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"))


@dataclass(frozen=True, slots=True)
class Webhook:
    """One webhook, by its name; the address and the secret are never shown.

    `slack` tells whether it takes the messages of Slack, which are not signed; `secret` signs
    those of all others.
    """

    name: str
    url: str = field(repr=False)
    slack: bool = False
    secret: str = field(default="", repr=False)

    def body(self, delivery: Delivery) -> bytes:
        """Return what is sent, the same at every try."""
        told = _slack(delivery) if self.slack else _document(delivery)
        return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()

    def headers(self, delivery: Delivery, body: bytes, timestamp: int) -> Mapping[str, str]:
        """Return the headers of a try at `timestamp`, in seconds since 1970."""
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "infrafabric",
            "InfraFabric-Delivery": delivery.delivery_id,
        }
        if self.secret:
            headers["InfraFabric-Signature"] = signature(self.secret, timestamp, body)
        return headers


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """Return `t=<timestamp>,v1=<HMAC-SHA256 of "<timestamp>.<body>", in hex>`."""
    signed = f"{timestamp}.".encode() + body
    return f"t={timestamp},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def _document(delivery: Delivery) -> dict[str, object]:
    return {
        "delivery_id": delivery.delivery_id,
        "entry_id": delivery.entry_id,
        "event": delivery.operation,
        "escalation": _told(delivery.escalation),
    }


def _told(escalation: Escalation) -> dict[str, object]:
    """Return an escalation with the names and values of the contract."""
    told = escalation.model_dump(mode="json", exclude={"since", "raise_time"})
    return {
        **told,
        "kind": f"ESCALATION_KIND_{escalation.kind.name}",
        "state": f"ESCALATION_STATE_{escalation.state.name}",
    }


def _slack(delivery: Delivery) -> dict[str, object]:
    escalation = delivery.escalation
    by = f" by {escalation.acknowledged_by}" if escalation.acknowledged_by else ""
    text = (
        f"[{escalation.state}{by}, level {escalation.level}] {escalation.summary}"
        f" ({escalation.escalation_id})"
    )
    for character, escape in _SLACK_ESCAPES:
        text = text.replace(character, escape)
    return {"text": text}
