"""Settings: each value that breaks its rule is refused by name, in one line."""

from pathlib import Path

import pytest

from infrafabric_server.config import ConfigError, Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("http", "127.0.0.1:" + "1" * 5000),
        ("http", "127.0.0.1:65536"),
        ("http", "unix:/run/fabric"),
        ("grpc", "[::ffff:127.0.0.1]:0"),
        ("grpc", "0.0.0.0:0"),
        ("data", ""),
        ("data", "a\0b"),
        ("data", "~no-such-user/data"),
        ("lease_seconds", "nan"),
        ("log_level", ""),
    ],
)
def test_a_setting_that_breaks_its_rule_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: ") as refused:
        Settings.load({}, {f"INFRAFABRIC_{name.upper()}": value})
    assert len(str(refused.value)) < 200


def test_a_setting_of_another_type_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "fabric.toml"
    file.write_text('data = ["here"]')
    with pytest.raises(ConfigError, match=r"^data: must be the path of a .+ \['here'\]"):
        Settings.load({}, {}, file)
