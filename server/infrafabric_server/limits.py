"""Limits on what comes in: one place for every number, used by models and edges."""

from typing import Annotated

from pydantic import AfterValidator, StringConstraints

MAX_CAPABILITIES = 64
MAX_DEPENDENCIES = 128
MAX_BOARD_TASKS = 1_000
MAX_BOARD_BYTES = 3 * 1024 * 1024
MAX_PAYLOAD_BYTES = 256 * 1024
MAX_SLOTS = 64
# Tasks that one swarm may hold, parked ones included: a session that takes them over does so
# in one transaction, and each heartbeat lists them.
MAX_HELD = 1_024
MAX_MONEY_MICROS = 10**12
MAX_TEXT = 4_096
MAX_LABEL = 256
MAX_MODEL = 128
MAX_PAGE = 1_000
DEFAULT_PAGE = 100
MAX_FRAMES = 64
MAX_BATCH_BYTES = 256 * 1024
MAX_SWARMS = 100_000
MAX_LIVE_TASKS = 1_000_000

# For pydantic's engine, where `$` is the very end; `re` needs fullmatch to mean the same.
ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:\-]{0,127}$"
CAPABILITY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:\-/]{0,127}$"

ID_RULE = "must be 1 to 128 characters of A-Z a-z 0-9 . _ : - and begin with a letter or digit"
CAPABILITY_RULE = (
    "must be 1 to 128 characters of A-Z a-z 0-9 . _ : - / and begin with a letter or digit"
)


def _few(values: frozenset[str]) -> frozenset[str]:
    if len(values) > MAX_CAPABILITIES:
        raise ValueError(f"must have at most {MAX_CAPABILITIES} entries")
    return values


Identifier = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
Capability = Annotated[str, StringConstraints(pattern=CAPABILITY_PATTERN)]
Capabilities = Annotated[frozenset[Capability], AfterValidator(_few)]
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT)]
Label = Annotated[str, StringConstraints(max_length=MAX_LABEL)]
