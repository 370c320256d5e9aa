"""The settings of webhooks: what is wrong is named, and neither address nor secret is shown."""

from pathlib import Path

import pytest

from infrafabric_cli.settings import PLACES
from infrafabric_server.config import ConfigError, Settings
from infrafabric_server.governor.escalation.webhook import Webhook


def load(*webhooks: str) -> tuple[Webhook, ...]:
    return Settings.load({"webhook": list(webhooks)}, {}).webhook


@pytest.mark.parametrize(
    "given",
    [
        "pager",
        "=https://a.example",
        "Pager=https://a.example",
        "pager=",
        "pager=ftp://a.example",
        "pager=http://a.example/secretpath",
        "pager=http://169.254.169.254/secretpath",
        "pager=https:///secretpath",
        "pager=https://user:secretpath@a.example",
        "pager=https://a.example:99999/secretpath",
        "pager=https://a.example/secretpath#x",
        "pager=https://[::1/secretpath",
        "pager=https://a.example/secretpath\nx",
        "pager=https://a.example/" + "secretpath" * 300,
        "pager=json+https://a.example",
    ],
)
def test_g7_a_webhook_that_breaks_its_rule_is_refused_without_its_address(given: str) -> None:
    with pytest.raises(ConfigError, match=r"^webhook: ") as refused:
        load(given)
    assert "secretpath" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_g7_webhooks_come_from_flags_the_environment_and_the_file(tmp_path: Path) -> None:
    two = ("a=https://a.example/x?y=1", "b=slack+http://127.0.0.1:9/z")
    flags = load(*two)
    environment = Settings.load({}, {"INFRAFABRIC_WEBHOOK": " ".join(two)}).webhook
    file = tmp_path / "server.toml"
    file.write_text(f"webhook = {list(two)}")
    assert flags == environment == Settings.load({}, {}, file).webhook
    assert [(each.name, each.url, each.slack) for each in flags] == [
        ("a", "https://a.example/x?y=1", False),
        ("b", "http://127.0.0.1:9/z", True),
    ]


def test_g7_names_are_unique_and_few() -> None:
    with pytest.raises(ConfigError, match="a name of its own"):
        load("a=https://a.example", "a=https://b.example")
    with pytest.raises(ConfigError, match="at most 8"):
        load(*(f"a{number}=https://a.example" for number in range(9)))


def test_g7_what_is_not_slack_needs_a_secret_from_the_environment() -> None:
    settings = Settings.load({"webhook": ["my-pager=https://a.example", "s=slack+https://b.c"]}, {})
    with pytest.raises(ConfigError, match="INFRAFABRIC_WEBHOOK_SECRET_MY_PAGER"):
        settings.webhooks({"INFRAFABRIC_WEBHOOK_SECRET_MY_PAGER": ""})
    hooks = settings.webhooks({"INFRAFABRIC_WEBHOOK_SECRET_MY_PAGER": "k"})
    assert [hook.secret for hook in hooks] == ["k", ""]
    assert "a.example" not in repr(settings)


def test_g7_webhooks_are_of_the_server_alone() -> None:
    assert "webhook" not in PLACES
