"""How texts for people name a policy; records and fields have its whole hash."""

import hashlib

DEFAULT_HASH = hashlib.sha256(b"").hexdigest()
"""Of the policy without a file, and of an empty one, which says the same."""

# As many as Git shows of its hashes in a large project: no two policies of a fabric share them.
_CHARACTERS = 12


def named(digest: str) -> str:
    """Return the words for the policy with a hash, such as `policy 0f2a61bb90cd`."""
    return "the default policy" if digest == DEFAULT_HASH else f"policy {digest[:_CHARACTERS]}"
