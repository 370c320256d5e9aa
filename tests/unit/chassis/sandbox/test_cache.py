"""The folder of compiled modules."""

import os
from pathlib import Path

import pytest

from infrafabric_server.chassis.sandbox.cache import Cache, NotPrivate
from infrafabric_server.chassis.sandbox.compiled import ModuleKind, ModuleRefused, check
from infrafabric_server.chassis.sandbox.messages import Described

_DESCRIBED = Described(
    imports=(("wasi_snapshot_preview1", "fd_read"), ("ifc", "log")),
    exports=frozenset({"_start"}),
    optimised=False,
)


def _digest(number: int) -> str:
    return f"{number:064x}"


def _keep(cache: Cache, number: int, size: int = 1_000) -> None:
    with cache.writing(_digest(number)) as target:
        os.write(target, bytes(size))
        cache.keep(_digest(number), target, _DESCRIBED)


def test_x1_what_is_kept_is_found_again_by_others(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "modules", 1 << 20)
    assert cache.find(_digest(1)) is None
    _keep(cache, 1)
    found = Cache(tmp_path / "modules", 1 << 20).find(_digest(1))
    assert found is not None
    assert found.kind is ModuleKind.WASI_COMMAND
    assert found.host_calls == {"log"}
    assert not found.optimised
    assert found.path.stat().st_size == 1_000
    assert (tmp_path / "modules").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_x1_a_folder_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "modules"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(NotPrivate, match=f"has mode {mode:o}"):
        Cache(folder, 1 << 20)


def test_x1_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "modules", 2_500)
    for number in (1, 2):
        _keep(cache, number)
        found = cache.find(_digest(number))
        assert found is not None
        os.utime(found.path, (number, number))
    # The first one is used.
    assert cache.find(_digest(1)) is not None
    _keep(cache, 3)
    assert [it for it in (1, 2, 3) if cache.find(_digest(it))] == [1, 3]
    # What is too large for the folder is kept all the same, alone.
    _keep(cache, 4, size=9_000)
    assert [it for it in (1, 2, 3, 4) if cache.find(_digest(it))] == [4]
    assert len(list((tmp_path / "modules").iterdir())) == 2


def test_x1_what_is_half_written_is_not_found_and_goes_away(tmp_path: Path) -> None:
    folder = tmp_path / "modules"
    cache = Cache(folder, 1 << 20)
    with cache.writing(_digest(1)) as target:
        os.write(target, b"half")
    assert list(folder.iterdir()) == []
    # Of a process that is gone, and of one that is there.
    gone, there = folder / f".{_digest(2)}.{1 << 23}", folder / f".{_digest(3)}.{os.getpid()}"
    for half in (gone, there):
        half.touch()
    Cache(folder, 1 << 20)
    assert list(folder.iterdir()) == [there]


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"imports": 7}', b"\xff"])
def test_x1_a_damaged_note_is_as_none(tmp_path: Path, damage: bytes) -> None:
    cache = Cache(tmp_path / "modules", 1 << 20)
    _keep(cache, 1)
    (note,) = (tmp_path / "modules").glob("*.json")
    note.write_bytes(damage)
    assert cache.find(_digest(1)) is None


@pytest.mark.parametrize(
    ("imports", "exports", "message"),
    [
        ((("env", "abort"),), {"_start"}, "imports env.abort; there are only"),
        ((("ifc", "open"),), {"_start"}, "imports ifc.open"),
        ((("ifc", "call"),), {"_start"}, "exports no ifc_alloc"),
        ((), {"ifc_run"}, "exports neither the function _start"),
    ],
)
def test_x1_a_module_that_cannot_run_is_refused_with_what_is_missing(
    imports: tuple[tuple[str, str], ...], exports: set[str], message: str
) -> None:
    with pytest.raises(ModuleRefused, match=message):
        check(Described(imports, frozenset(exports), optimised=True))
