"""The truth: a revisioned key-value store, its adapters and in-memory views of it."""
