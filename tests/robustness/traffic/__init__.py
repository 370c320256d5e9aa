"""The clients: what they do all day, and what they note of it."""
