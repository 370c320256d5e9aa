"""Checks on the dependencies of tasks that are created together."""

from collections.abc import Callable, Mapping, Sequence

from infrafabric_server.errors import FabricError, FieldViolation, Reason


def check_dependencies(board: Mapping[str, Sequence[str]], exists: Callable[[str], bool]) -> None:
    """Refuse a board whose dependencies are unknown or run in a circle.

    `board` maps each new task id to the ids it depends on, `exists` tells whether a task
    is there already. Raises DEPENDENCY_UNKNOWN naming task and dependency, and
    DEPENDENCY_CYCLE spelling the circle out. O(tasks + dependencies), no recursion.
    """
    for index, (task_id, dependencies) in enumerate(board.items()):
        for dependency in dependencies:
            if dependency not in board and not exists(dependency):
                rule = f"task {task_id} depends on {dependency}, which does not exist"
                field = f"tasks[{index}].dependencies"
                raise FabricError(
                    Reason.DEPENDENCY_UNKNOWN, rule, fields=[FieldViolation(field, rule)]
                )
    cycle = find_cycle(board)
    if cycle:
        rule = "dependencies form a cycle: " + " -> ".join(cycle)
        index = list(board).index(cycle[0])
        field = f"tasks[{index}].dependencies"
        raise FabricError(Reason.DEPENDENCY_CYCLE, rule, fields=[FieldViolation(field, rule)])


def find_cycle(board: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a circle of dependencies, first id repeated at the end, or an empty list."""
    done: set[str] = set()
    for start in board:
        if start in done:
            continue
        path: list[str] = [start]
        on_path = {start}
        pending = [iter(board[start])]
        while pending:
            following = next(pending[-1], None)
            if following is None:
                pending.pop()
                left = path.pop()
                on_path.discard(left)
                done.add(left)
            elif following in on_path:
                return [*path[path.index(following) :], following]
            elif following in board and following not in done:
                path.append(following)
                on_path.add(following)
                pending.append(iter(board[following]))
    return []
