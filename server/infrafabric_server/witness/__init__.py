"""The witness: every decision in an append-only log that shows when it was tampered with."""
