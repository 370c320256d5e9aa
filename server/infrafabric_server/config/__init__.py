"""What the server can be told, and the one error for what it cannot."""

from infrafabric_server.config.settings import Settings
from infrafabric_server.config.values import Address, ConfigError

__all__ = ["Address", "ConfigError", "Settings"]
