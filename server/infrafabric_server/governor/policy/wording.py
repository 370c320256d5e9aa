"""What is wrong with a value of a policy: the rule in the words of its guide, and what it is."""

from collections.abc import Callable, Mapping

from pydantic_core import ErrorDetails

from infrafabric_server.limits import CAPABILITY_PATTERN, CAPABILITY_RULE, ID_PATTERN, ID_RULE

_LONGEST = 40

_PATTERNS = {ID_PATTERN: ID_RULE, CAPABILITY_PATTERN: CAPABILITY_RULE}
_NAME = "must be 1 to 64 characters of A-Z a-z 0-9 . _ -, the first a letter or digit"

Context = Mapping[str, object]

# By the type of error that pydantic gives it.
_RULES: dict[str, Callable[[Context], str]] = {
    "missing": lambda _: "must be given",
    "int_type": lambda _: "must be a whole number",
    "float_type": lambda _: "must be a number",
    "string_type": lambda _: "must be a text; what looks like another value needs quotes",
    "bool_type": lambda _: "must be true or false",
    "model_type": lambda _: "must be a mapping of names to values",
    "tuple_type": lambda _: "must be a list",
    "enum": lambda context: "must be " + str(context["expected"]).replace("'", ""),
    "greater_than": lambda context: f"must be above {_number(context['gt'])}",
    "greater_than_equal": lambda context: f"must be at least {_number(context['ge'])}",
    "less_than": lambda context: f"must be below {_number(context['lt'])}",
    "less_than_equal": lambda context: f"must be at most {_number(context['le'])}",
    "too_long": lambda context: f"must have at most {context['max_length']} entries",
    "string_too_short": lambda _: "must not be empty",
    "string_too_long": lambda context: f"must have at most {context['max_length']} characters",
    "string_pattern_mismatch": lambda context: _PATTERNS.get(str(context["pattern"]), _NAME),
    "value_error": lambda context: str(context["error"]),
}


def told(error: ErrorDetails) -> str:
    """Return what is wrong with a value, for people.

    Args:
        error: one error of pydantic, with its context.
    """
    rule = _RULES.get(error["type"])
    # pydantic's own words are better than none, should it have a type of error that is not here.
    text = rule(error.get("ctx", {})) if rule else error["msg"]
    found = _found(error["type"], error["input"])
    return f"{text}, and {found}" if found else text


def _found(kind: str, value: object) -> str:
    if kind in ("missing", "string_too_short"):
        return ""
    if isinstance(value, str) and kind == "string_too_long":
        return f"has {len(value)}"
    match value:
        case dict():
            return "" if kind == "value_error" else "is a mapping"
        case list():
            return f"has {len(value)}" if kind == "too_long" else "is a list"
        case str():
            return f"is {value[:_LONGEST]!r}"
    return f"is {'null' if value is None else str(value).lower()}"


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
