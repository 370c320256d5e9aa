"""The HTTP side: JSON API, live events, health, metrics. It translates and decides nothing."""
