"""What docs/deployment.md shows is run, in its order, with the files that it names."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.harness import units
from tests.harness.documents import ROOT, blocks, dead_links
from tests.harness.etcd import program
from tests.harness.ports import free_port

GUIDE = (ROOT / "docs" / "deployment.md").read_text()
DEPLOY = ROOT / "deploy"

# It is about several replicas, and starts etcd and NATS itself.
pytestmark = pytest.mark.embedded


class Host:
    """A folder that stands for a host, whose ports are free ones.

    Args:
        folder: it must exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._units = folder / "system"
        self._state = folder / "lib"
        ports = {port: free_port() for port in (2379, 2380, 2381, 4222, 8222, 50051, 8765)}
        # What is on a host once is in the folder, and what is taken here may be in use.
        self._instead = {
            "/etc/infrafabric": str(folder / "etc"),
            "/etc/systemd/system": str(self._units),
            "/var/lib": str(self._state),
            "/root/": f"{folder}/",
            "/usr/local/bin/etcd ": f"{program('etcd')} ",
            "/usr/local/bin/nats-server": str(Path(sys.executable).parent / "nats-server"),
            "/opt/infrafabric/bin": str(Path(sys.executable).parent),
            **{f":{port}": f":{free}" for port, free in ports.items()},
        }
        shutil.copytree(DEPLOY, folder / "deploy")
        for file in filter(Path.is_file, (folder / "deploy").rglob("*")):
            file.write_text(self.placed(file.read_text()))
        (folder / "bin").mkdir()
        self._units.mkdir()
        self._state.mkdir()
        systemctl = folder / "bin" / "systemctl"
        command = shlex.join(map(str, (sys.executable, units.__file__, self._units, self._state)))
        systemctl.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        systemctl.chmod(0o755)
        (folder / "bin" / "etcdctl").symlink_to(program("etcdctl"))
        self._environment = {
            **os.environ,
            "PATH": f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ETCDCTL_API": "3",
            "ETCDCTL_ENDPOINTS": f"127.0.0.1:{ports[2379]}",
            "INFRAFABRIC_SERVER": f"127.0.0.1:{ports[50051]},127.0.0.2:{ports[50051]}",
        }

    def placed(self, text: str) -> str:
        """Return `text` with the places of this host."""
        for there, here in self._instead.items():
            text = re.sub(rf"{re.escape(there)}(?!\d)", here, text)
        return text

    def run(self, script: str) -> str:
        """Run a block of the guide, each command of which must succeed; return its output."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.placed(script)],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
        logs = "".join(path.read_text()[-1500:] for path in self._state.glob("run/*/log"))
        assert done.returncode == 0, f"{script}\nprinted\n{done.stdout}\n{logs}"
        return done.stdout

    def entries(self) -> int:
        """Return how many entries the witness log has, as a server says."""
        told = re.search(r"verified: (\d+) entries", self.run("infrafabric witness verify"))
        assert told is not None
        return int(told[1])


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host on which nothing is installed but the programs."""
    host = Host(tmp_path)
    yield host
    host.run("systemctl kill '*'")


@pytest.mark.timeout(180)
def test_d5_the_commands_of_the_guide_work_in_their_order(host: Host) -> None:
    """U6, D5: from nothing to a fabric, and back from each loss that one machine allows."""
    *others, put_back = blocks(GUIDE, "sh")
    for block in others:
        host.run(block)
    before = host.entries()
    host.run(
        "systemctl stop infrafabric-nats\n"
        "rm -r /var/lib/private/infrafabric-nats\n"
        "systemctl start infrafabric-nats"
    )
    assert f"verified: {before} entries" in host.run(put_back)
    assert "lea" in host.run("infrafabric swarm list")
    host.run("infrafabric swarm register late")
    assert host.entries() == before + 1
    _lose_everything(host)


def _lose_everything(host: Host) -> None:
    """Both are lost: the log comes from a copy, and goes further than the dump."""
    before = host.entries()
    host.run(
        "systemctl stop 'infrafabric@*'\n"
        "for each in etcd nats; do\n"
        "  systemctl stop infrafabric-$each\n"
        "  rm -r /var/lib/private/infrafabric-$each\n"
        "  systemctl start infrafabric-$each\n"
        "done"
    )
    host.run("deploy/etcd-users.sh")
    settings = "--config /etc/infrafabric/infrafabric.toml"
    host.run(
        f"infrafabric store restore-log {settings} --data /var/lib/infrafabric/1\n"
        f"infrafabric store restore {settings} /var/lib/infrafabric-dumps/fabric-*.dump\n"
        "systemctl start infrafabric@1\n"
        "until curl -sf 127.0.0.1:8765/healthz; do sleep 0.2; done"
    )
    assert host.entries() == before
    assert "lea" in host.run("infrafabric swarm list")


def test_d5_the_containers_run_what_the_units_run() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert set(services) == {"etcd", "nats", "replica1", "replica2"}
    assert {service["network_mode"] for service in services.values()} == {"host"}
    unit = (DEPLOY / "systemd" / "infrafabric@.service").read_text()
    for name in ("replica1", "replica2"):
        command = services[name]["command"]
        assert command[0] == "serve"
        assert "--config=/etc/infrafabric/infrafabric.toml" in command
    for part in ("serve --config /etc/infrafabric/infrafabric.toml", "127.0.0.%i:50051"):
        assert part in unit
    for program_, file in (("etcd", "etcd.yaml"), ("nats", "nats.conf")):
        (mounted, *_) = services[program_]["volumes"]
        assert mounted == f"/etc/infrafabric/{file}:/etc/infrafabric/{file}:ro"
        assert (DEPLOY / file).exists()


def test_d5_every_member_of_a_cluster_has_the_limits_of_a_sole_one() -> None:
    sole, member = (
        yaml.safe_load((DEPLOY / name).read_text()) for name in ("etcd.yaml", "etcd-member.yaml")
    )
    limits = (
        "max-txn-ops",
        "max-request-bytes",
        "quota-backend-bytes",
        "auto-compaction-retention",
    )
    assert {name: sole[name] for name in limits} == {name: member[name] for name in limits}
    for name in ("nats.conf", "nats-member.conf"):
        assert "sync_interval: always" in (DEPLOY / name).read_text()


def test_d5_alerts_ask_for_figures_that_a_replica_shows() -> None:
    server = "".join(path.read_text() for path in (ROOT / "server").rglob("*.py"))
    rules = (DEPLOY / "prometheus" / "infrafabric.yaml").read_text()
    for text in (rules, GUIDE):
        for name in re.findall(r"infrafabric_[a-z]+_[a-z_]+[a-z]", text):
            assert re.sub(r"_(total|bucket)$", "", name) in server, name


def test_d5_every_link_of_the_guide_leads_somewhere() -> None:
    assert dead_links(GUIDE, ROOT / "docs") == []
