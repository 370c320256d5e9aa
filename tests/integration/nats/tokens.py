"""Operators, accounts and users of NATS, which are tokens that are signed with keys."""

import base64
import hashlib
import json
import secrets
from pathlib import Path

import nkeys


class Key:
    """A new key of the kind that its prefix says."""

    def __init__(self, prefix: int) -> None:
        self.seed: bytes = nkeys.encode_seed(secrets.token_bytes(32), prefix)
        self._pair = nkeys.from_seed(self.seed)
        self.public: str = self._pair.public_key.decode()

    def token(self, subject: "Key", kind: str, **claims: object) -> str:
        """Return a token of this key about `subject`."""
        body: dict[str, object] = {
            "iss": self.public,
            "sub": subject.public,
            "name": kind,
            "iat": 1_700_000_000,
            "nats": {"type": kind, "version": 2, **claims},
        }
        digest = hashlib.sha256(json.dumps(body).encode()).digest()
        body["jti"] = base64.b32encode(digest).decode().rstrip("=")
        text = f"{_part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_part(body)}"
        return f"{text}.{_base64(self._pair.sign(text.encode()))}"


class Operator:
    """An operator with one account, which may do anything."""

    def __init__(self) -> None:
        key = Key(nkeys.PREFIX_BYTE_OPERATOR)
        self._account, system = (Key(nkeys.PREFIX_BYTE_ACCOUNT) for _ in range(2))
        limits = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn"), -1)
        known = ", ".join(
            f"{each.public}: {key.token(each, 'account', limits=limits)}"
            for each in (self._account, system)
        )
        self.settings = (
            f"operator: {key.token(key, 'operator')}",
            f"system_account: {system.public}",
            "resolver: MEMORY",
            f"resolver_preload: {{ {known} }}",
        )

    def credentials(self, file: Path) -> None:
        """Write a file of credentials of a new user."""
        user = Key(nkeys.PREFIX_BYTE_USER)
        token = self._account.token(user, "user", subs=-1, data=-1, payload=-1)
        file.write_text(
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n"
            "------END USER NKEY SEED------\n"
        )


def _part(value: dict[str, object] | dict[str, str]) -> str:
    return _base64(json.dumps(value).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
