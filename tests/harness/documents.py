"""What a document shows, run: fenced blocks, and commands in a shell against a real server."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.harness.server import ServerProcess

ROOT = Path(__file__).parents[2]


def blocks(document: str, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", document, re.DOTALL)


def program(document: str, name: str) -> dict[str, Any]:
    """Run the one block of Python of a document; return the names that it defines.

    Args:
        document: The text.
        name: Of the document, for tracebacks.
    """
    (block,) = blocks(document, "python")
    names: dict[str, Any] = {}
    exec(compile(block, name, "exec"), names)  # noqa: S102  # our own documents
    return names


def dead_links(document: str, folder: Path) -> list[str]:
    """Return the targets of a document in `folder` that are neither headings nor files."""
    targets: list[str] = re.findall(r"\]\(([^)]+)\)", document)
    return [target for target in targets if not _leads(target, document, folder)]


def _leads(target: str, document: str, folder: Path) -> bool:
    name, _, heading = target.partition("#")
    if name and not (folder / name).exists():
        return False
    return not heading or heading in _headings((folder / name).read_text() if name else document)


def _headings(document: str) -> list[str]:
    return [
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", document, re.MULTILINE)
    ]


def steps(transcript: str) -> list[tuple[str, list[str]]]:
    """Return each command of a console block, with the lines that it must print."""
    found = []
    for step in re.split(r"^\$ ", transcript, flags=re.MULTILINE)[1:]:
        command, *expected = step.splitlines()
        found.append((command, expected))
    return found


def try_out(page: str, language: str, folder: Path) -> int:
    """Run the commands of a page's blocks of a language in `folder`; return how many there are.

    Each must print the lines below it, or succeed if there are none. They see `docs` and
    `clients`, and the commands of the environment that runs this.
    """
    for name in ("docs", "clients"):
        (folder / name).symlink_to(ROOT / name)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    commands = [step for transcript in blocks(page, language) for step in steps(transcript)]
    for command, expected in commands:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=55,
            check=False,
        )
        assert expected or not done.returncode, f"{command} printed\n{done.stdout}"
        for line in filter(None, expected):
            assert line in done.stdout, f"{command} printed\n{done.stdout}"
    return len(commands)


async def shell(script: str, server: ServerProcess) -> str:
    """Run a script as a document shows it, with `server` in place of the default one."""
    script = script.replace("localhost:50051", server.grpc).replace("localhost:8765", server.http)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "INFRAFABRIC_SERVER": server.grpc,
        "INFRAFABRIC_URL": f"http://{server.grpc}",
        "IFNOTIFY_URL": f"http://{server.http}",
    }
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        script,
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return output.decode()


async def follow(document: str, server: ServerProcess) -> None:
    """Run every console block of a document, in its order; each must print the lines it shows."""
    for transcript in blocks(document, "console"):
        for command, expected in steps(transcript):
            output = await shell(command, server)
            for line in filter(None, expected):
                assert line in output, f"{command} printed\n{output}"
