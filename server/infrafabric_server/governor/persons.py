"""Names of people, as they say them themselves: what may be one, and which id it reads as."""

import re
import unicodedata

from infrafabric_server.errors import FieldViolation, InvalidField

# What belongs into names of some scripts though nobody sees it: joiners, fillers, variants.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200c\u200d\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
_LETTERS_AND_DIGITS = ("L", "N")
_CONTROLS = ("C", "Zl", "Zp")
# Alphabets with letters that look the same; no name has two of them in a word.
_ALPHABETS = ("LATIN", "GREEK", "CYRILLIC")


def require_person(field: str, name: str) -> str:
    """Return a name without the spaces around it, if it can be that of a person.

    Raises:
        InvalidField: it has neither a letter nor a digit, or controls, which nobody sees, or a word
            in letters of several alphabets.
    """
    name = name.strip()
    if not any(unicodedata.category(each)[0] in _LETTERS_AND_DIGITS for each in seen_as(name)):
        raise InvalidField(FieldViolation(field, "must name a person"))
    if any(unicodedata.category(each).startswith(_CONTROLS) for each in _UNSEEN.sub("", name)):
        rule = "must name a person, without control and format characters"
        raise InvalidField(FieldViolation(field, rule))
    if any(len(_alphabets(word)) > 1 for word in seen_as(name).split()):
        rule = f"must name a person, each word in one of {', '.join(_ALPHABETS)} letters"
        raise InvalidField(FieldViolation(field, rule))
    return name


def seen_as(name: str) -> str:
    """Return the id that a name reads as: its letters as plain ones, its dashes as hyphens."""
    plain = _UNSEEN.sub("", unicodedata.normalize("NFKC", _UNSEEN.sub("", name)))
    return "".join("-" if _is_dash(each) else each for each in plain).strip()


def _alphabets(word: str) -> set[str]:
    names = [unicodedata.name(each, "") for each in word]
    return {each for each in _ALPHABETS if any(name.startswith(each) for name in names)}


def _is_dash(character: str) -> bool:
    # The minus sign is none to Unicode.
    return character == "\u2212" or unicodedata.category(character) == "Pd"
