"""The shapes that the project promises: classes, models, pages, and habits of its code."""

import ast
import inspect
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from infrafabric_server.chassis.chassis import Chassis
from infrafabric_server.chassis.contract import ResourceLimits, ServiceContract, SLODefinition
from infrafabric_server.chassis.ports import IFChassis
from infrafabric_server.coordinator.coordinator import Coordinator, IFCoordinator
from infrafabric_server.coordinator.models import BlockerAlert, TaskBroadcast, TaskClaim
from infrafabric_server.fleet.models import SwarmProfile
from infrafabric_server.governor.governor import Governor, IFGovernor
from infrafabric_server.governor.models import CapabilityMatch
from infrafabric_server.notify.notify import IFNotify, Notify
from infrafabric_server.witness.witness import IFWitness, Witness
from tests.harness.documents import program

ROOT = Path(__file__).parents[2]
OURS = [
    path
    for folder in (
        "server",
        "clients/python",
        "demo",
        "tests",
        "clients/typescript/src",
        "clients/typescript/test",
    )
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".ts") and "v1" not in path.parts and "gen" not in path.parts
]


@pytest.mark.parametrize(
    ("protocol", "implementation"),
    [
        (IFCoordinator, Coordinator),
        (IFGovernor, Governor),
        (IFNotify, Notify),
        (IFChassis, Chassis),
        (IFWitness, Witness),
    ],
)
def test_d1_each_component_is_a_documented_protocol_with_one_implementation(
    protocol: type, implementation: type
) -> None:
    methods = [name for name in vars(protocol) if not name.startswith("_")]
    assert methods
    for name in methods:
        promised = inspect.signature(getattr(protocol, name))
        assert inspect.signature(getattr(implementation, name)) == promised, name
        assert inspect.getdoc(getattr(protocol, name)), name


def test_d1_the_method_names_are_those_that_outside_tools_rely_on() -> None:
    for name in ("register_swarm", "claim_task", "push_task_to_swarm", "detect_blocker"):
        assert hasattr(IFCoordinator, name)
        assert f"IFCoordinator.{name}" in (ROOT / "docs/coordinator.md").read_text()
    for name in ("load_swarm", "execute_task"):
        assert hasattr(IFChassis, name)
        assert f"`{name}`" in (ROOT / "docs/chassis.md").read_text()
    parameters = list(inspect.signature(IFGovernor.find_qualified_swarm).parameters)
    assert parameters[1:3] == ["required_caps", "max_cost"]


@pytest.mark.parametrize(
    "model",
    [
        *(TaskClaim, TaskBroadcast, BlockerAlert, SwarmProfile, CapabilityMatch),
        *(ServiceContract, ResourceLimits, SLODefinition),
    ],
)
def test_d2_the_models_are_frozen_and_validated(model: type[BaseModel]) -> None:
    assert issubclass(model, BaseModel)
    assert model.model_config.get("frozen") is True


async def test_d3_the_example_of_the_harness_runs() -> None:
    page = (ROOT / "docs/testing.md").read_text()
    await program(page, "docs/testing.md")["example"]()


@pytest.mark.parametrize("page", ["chassis", "coordinator", "matching", "notify", "witness"])
def test_d4_each_component_has_a_page_with_a_diagram(page: str) -> None:
    text = (ROOT / f"docs/{page}.md").read_text()
    assert re.search(r"[│┌└├─▼►]", text), "no diagram"


def test_no_file_is_longer_than_400_lines() -> None:
    assert [str(path) for path in OURS if len(path.read_text().splitlines()) > 400] == []


def test_no_function_is_longer_than_70_lines() -> None:
    """Those of TypeScript are measured by its linter."""
    functions = [
        (each.end_lineno - each.lineno + 1, f"{path}: {each.name}")
        for path in OURS
        if path.suffix == ".py"
        for each in ast.walk(ast.parse(path.read_text()))
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each.end_lineno
    ]
    assert len(functions) > 1_000
    assert [name for length, name in functions if length > 70] == []


def test_nothing_is_left_open_in_the_code() -> None:
    marks = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")
    assert [str(path) for path in OURS if marks.search(path.read_text())] == []


def test_lock_files_name_no_address() -> None:
    locks = [*ROOT.glob("requirements*.lock"), ROOT / "clients/typescript/package-lock.json"]
    assert len(locks) >= 2
    assert [lock.name for lock in locks if "://" in lock.read_text()] == []
