"""HTTP requests that the service makes for guests, where a credential of their task lets it."""
