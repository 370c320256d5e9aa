"""What the pages of the documentation leave behind on a server does not meet the next page."""

import re
from collections import Counter

from tests.harness.documents import ROOT, blocks

_PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

# How a page makes a task or a swarm: by the command line, a session, grpcurl or the environment.
_MADE = re.compile(
    r"tasks create .*?--id ([\w.$-]+)"
    r"|swarm register ([\w.$-]+)"
    r"|session --swarm ([\w.$-]+)"
    r'|"task": \{"task_id": "([^"]+)"'
    r'|"swarm_id": "([^"]+)".*RegisterSwarm'
    r"|SESSION_ID=(\S+)"
)
_LOOP = re.compile(r"for (\w+) in ([^;]+); do (.*?); done")


def made(page: str) -> set[str]:
    """Return the ids of the tasks and swarms that the commands of a page make."""
    shown = "\n".join(blocks(page, "console") + blocks(page, "sh"))
    unrolled = _LOOP.sub(
        lambda loop: "\n".join(loop[3].replace(f"${loop[1]}", each) for each in loop[2].split()),
        shown,
    )
    return {"".join(ids) for ids in _MADE.findall(unrolled)}


def test_the_pages_can_be_followed_one_after_the_other_on_one_server() -> None:
    makers = Counter(made_id for page in _PAGES for made_id in made(page.read_text()))
    assert {"t1", "page-4", "deed-2", "key", "linus", "ben"} <= makers.keys()
    assert [each for each, pages in makers.items() if pages > 1] == []


def test_ids_are_found_in_loops_and_sessions() -> None:
    page = "```console\n$ for n in 1 2; do infrafabric swarm register s-$n; done\n```\n"
    assert made(page) == {"s-1", "s-2"}
    assert made("```sh\nnode main.js session --swarm ben --capabilities a\n```\n") == {"ben"}
