"""The layers by themselves: the filter as the kernel runs it, and who is not root."""

import json
import struct
import subprocess
import sys

import pytest

from infrafabric_server.chassis.sandbox.worker.layers import seccomp

_X86, _ARM = 0xC000003E, 0xC00000B7
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x0005000D
_PID = 4_242


def _verdict(
    program: bytes, architecture: int, number: int, arguments: tuple[int, ...] = ()
) -> int:
    """Run a filter as the kernel does, on the description of one call."""
    call = struct.pack("=IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    steps = list(struct.iter_unpack("=HBBI", program))
    at, word = 0, 0
    while True:
        code, if_true, if_false, value = steps[at]
        at += 1
        if code == 0x20:
            (word,) = struct.unpack_from("=I", call, value)
        elif code == 0x06:
            return int(value)
        else:
            taken = word == value if code == 0x15 else word >= value
            at += if_true if taken else if_false


@pytest.mark.parametrize(
    ("machine", "architecture", "read", "openat", "socket", "tgkill", "prlimit64", "clone"),
    [("x86_64", _X86, 0, 257, 41, 234, 302, 56), ("aarch64", _ARM, 63, 56, 198, 131, 261, 220)],
)
def test_x1_the_filter_allows_what_a_worker_needs_and_kills_the_rest(
    machine: str,
    architecture: int,
    read: int,
    openat: int,
    socket: int,
    tgkill: int,
    prlimit64: int,
    clone: int,
) -> None:
    strict = seccomp.program(machine, _PID, loading=False)
    loading = seccomp.program(machine, _PID, loading=True)
    for program in (strict, loading):
        assert _verdict(program, architecture, read) == _ALLOW
        for number in (socket, clone, 425, 9_999):
            assert _verdict(program, architecture, number) == _KILL
        assert _verdict(program, architecture, tgkill, (_PID, _PID, 6)) == _ALLOW
        assert _verdict(program, architecture, tgkill, (1, 1, 6)) == _KILL
        assert _verdict(program, architecture, prlimit64, (0, 0)) == _ALLOW
        assert _verdict(program, architecture, prlimit64, (0, 2)) == _KILL
        assert _verdict(program, architecture, prlimit64, (1, 0)) == _KILL
    assert _verdict(strict, architecture, openat) == _REFUSE
    assert _verdict(loading, architecture, openat) == _ALLOW


def test_x1_the_filter_kills_calls_in_the_manner_of_other_machines() -> None:
    program = seccomp.program("x86_64", _PID, loading=False)
    # The number of read in each: of 32-bit x86, of aarch64, and of x86_64 with short pointers.
    assert _verdict(program, 0x40000003, 3) == _KILL
    assert _verdict(program, _ARM, 63) == _KILL
    assert _verdict(program, _X86, 0x40000000) == _KILL


def test_x1_nothing_is_claimed_of_a_machine_that_is_not_known() -> None:
    with pytest.raises(OSError, match="riscv64"):
        seccomp.program("riscv64", _PID, loading=False)


def test_x1_without_root_all_layers_hold_but_the_network_of_its_own() -> None:
    program = (
        "import json, os\n"
        "from infrafabric_server.chassis.sandbox.worker.layers.order import Amounts, enclose\n"
        "os.setgroups([]); os.setresgid(54321, 54321, 54321); os.setresuid(54321, 54321, 54321)\n"
        "os.write(1, json.dumps(enclose(os.getppid(), Amounts(1 << 28, 1 << 20))).encode())\n"
        "os._exit(0)"
    )
    answer = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, check=True, timeout=30
    ).stdout
    layers = {name: (held, detail) for name, held, detail in json.loads(answer)}
    assert layers.pop("network") == (False, "unshare: Operation not permitted")
    assert layers["user"] == (True, "user 54321, as the service")
    assert [name for name, (held, _) in layers.items() if not held] == []


@pytest.mark.parametrize(("held", "left"), [(True, "EACCES"), (False, "read")])
def test_x1_only_what_was_put_on_is_sealed(held: bool, left: str) -> None:
    # A kernel without landlock runs modules as well, unless a policy demands it.
    program = (
        "import errno, os\n"
        "from infrafabric_server.chassis.sandbox.worker.layers.order import Layer, seal\n"
        "from infrafabric_server.chassis.sandbox.worker.layers.privileges import "
        "no_new_privileges\n"
        "no_new_privileges()\n"
        f"seal([Layer(it, {held}, '') for it in ('landlock', 'seccomp')])\n"
        "try: os.open('/proc/self/status', os.O_RDONLY); said = 'read'\n"
        "except OSError as error: said = errno.errorcode[error.errno]\n"
        "os.write(1, said.encode()); os._exit(0)"
    )
    answer = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, check=True, timeout=30
    ).stdout
    assert answer.decode() == left
