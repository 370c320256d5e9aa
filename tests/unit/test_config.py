"""Settings: each value that breaks its rule is refused by name, in one line."""

from pathlib import Path

import pytest

from infrafabric_server.bus.address import BusRefusedError
from infrafabric_server.config import ConfigError, Settings
from infrafabric_server.store.etcd.address import EtcdAddress
from infrafabric_server.store.protocol import StoreRefused

SHARED = {"store": "etcd://a:2379,b:2379/one", "bus": "nats://a:4222,b:4222"}
SECURE = {"store": "etcds://a:2379/one", "bus": "tls://a:4222"}


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
        ("store", ""),
        ("store", "mysql"),
        ("store", "etcd://"),
        ("store", "etcd://a"),
        ("store", "etcd://a:2379/two words"),
        ("store", "etcd://a:2379,a:2379"),
        ("bus", "redis://a:1"),
        ("bus", "nats://"),
        ("bus", "nats://a"),
        ("bus", "nats://a:0"),
        ("bus", "nats://a:65536"),
        ("bus", "nats://a:4222,a:4222"),
        ("bus", "nats://a:4222/path"),
        ("bus", "nats://a:" + "1" * 5000),
        ("etcd_ca", ""),
        ("etcd_user", ""),
        ("etcd_user", "a\nb"),
        ("nats_subject", "a.b"),
        ("nats_subject", "a*"),
        ("witness_replicas", "2"),
        ("witness_replicas", "1.0"),
    ],
)
def test_a_setting_that_breaks_its_rule_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: ") as refused:
        Settings.load({}, {f"INFRAFABRIC_{name.upper()}": value})
    assert len(str(refused.value)) < 220


def test_a_setting_of_another_type_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "fabric.toml"
    file.write_text('data = ["here"]')
    with pytest.raises(ConfigError, match=r"^data: must be the path of a .+ \['here'\]"):
        Settings.load({}, {}, file)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"store": SHARED["store"]}, "store, bus"),
        ({"bus": SHARED["bus"]}, "store, bus"),
        ({"etcd_user": "u"}, "etcd_user"),
        ({"witness_replicas": "3"}, "witness_replicas"),
        ({**SHARED, "etcd_ca": "ca.pem"}, "etcd_ca"),
        ({**SHARED, "nats_cert": "c.pem", "nats_key": "k.pem"}, "nats_cert"),
        ({**SECURE, "etcd_cert": "c.pem"}, "etcd_cert, etcd_key"),
        ({**SECURE, "nats_key": "k.pem"}, "nats_cert, nats_key"),
        ({**SHARED, "etcd_password_file": "p"}, "etcd_password_file"),
        ({**SHARED, "nats_user": "u", "nats_credentials": "c"}, "nats_user, nats_credentials"),
        ({**SHARED, "store": "etcd://a:2379/one.two"}, "nats_subject"),
    ],
)
def test_settings_that_do_not_go_together_are_named(given: dict[str, str], names: str) -> None:
    with pytest.raises(ConfigError, match=f"^{names}: "):
        Settings.load(given, {})


def test_where_etcd_and_nats_are() -> None:
    settings = Settings.load(SHARED, {})
    assert settings.shared
    assert settings.etcd_address() == EtcdAddress(("a:2379", "b:2379"), "one")
    assert (settings.bus, settings.subject) == (SHARED["bus"], "one")
    assert Settings.load({**SHARED, "nats_subject": "two"}, {}).subject == "two"
    assert not Settings.load({}, {}).shared


def test_a_flag_goes_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "fabric.toml"
    file.write_text(
        f'store = "{SHARED["store"]}"\nbus = "{SHARED["bus"]}"\n'
        'nats_user = "file"\netcd_user = "file"\nwitness_replicas = 3\n'
    )
    environ = {"INFRAFABRIC_NATS_USER": "variable", "INFRAFABRIC_ETCD_USER": "variable"}
    settings = Settings.load({"nats_user": "flag", "etcd_user": None}, environ, file)
    assert (settings.nats_user, settings.etcd_user) == ("flag", "variable")
    assert settings.witness_replicas == 3


def test_passwords_come_from_files_or_the_environment_and_are_never_shown(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from the file\nnot this\n")
    users = {"etcd_user": "e", "nats_user": "n"}
    settings = Settings.load({**SHARED, **users}, {})
    environ = {
        "INFRAFABRIC_ETCD_PASSWORD": "secret of etcd",
        "INFRAFABRIC_NATS_PASSWORD": "secret of nats",
    }
    etcd, nats = settings.etcd_access(environ), settings.nats_access(environ)
    assert (etcd.user, etcd.password) == ("e", "secret of etcd")
    assert (nats.user, nats.password) == ("n", "secret of nats")
    assert "secret" not in f"{settings!r} {etcd!r} {nats!r}"
    files = {
        "etcd_password_file": tmp_path / "password",
        "nats_password_file": tmp_path / "password",
    }
    settings = Settings.load({**SHARED, **users, **files}, {})
    assert settings.etcd_access(environ).password == "from the file"
    assert settings.nats_access(environ).password == "from the file"


def test_what_is_shown_to_etcd_and_nats_must_be_there(tmp_path: Path) -> None:
    settings = Settings.load({**SHARED, "etcd_user": "e", "nats_user": "n"}, {})
    with pytest.raises(StoreRefused, match="the etcd user e has no password"):
        settings.etcd_access({})
    with pytest.raises(BusRefusedError, match="the NATS user n has no password"):
        settings.nats_access({})
    missing = {"etcd_ca": tmp_path / "ca.pem", "nats_ca": tmp_path / "ca.pem"}
    settings = Settings.load({**SECURE, **missing}, {})
    with pytest.raises(StoreRefused, match=r"ca\.pem: cannot be read"):
        settings.etcd_access({})
    with pytest.raises(BusRefusedError, match=r"ca\.pem"):
        settings.nats_access({})


@pytest.mark.parametrize("name", ["store", "bus"])
def test_an_address_with_a_password_is_refused_without_repeating_it(name: str) -> None:
    for scheme in ("etcd", "nats", "http"):
        with pytest.raises(ConfigError, match=f"^{name}: ") as refused:
            Settings.load({name: f"{scheme}://user:hunter2@host:1"}, {})
        assert "hunter2" not in str(refused.value)
