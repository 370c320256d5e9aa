"""US dollars as people write them, and micro-US-dollars as the fabric counts them."""

import re

MICROS_PER_USD = 1_000_000

# A million dollars: no single amount of the contract is larger.
MAX_MICROS = 10**12

USD_RULE = "must be a number of US dollars from 0 to 1000000 with at most 6 decimals, such as 2.50"

_USD = re.compile(r"([0-9]{1,7})(?:\.([0-9]{1,6}))?", re.ASCII)


def parse_usd(text: str) -> int:
    """Return the micro-US-dollars of an amount, exactly.

    Args:
        text: dollars such as `2`, `2.5` or `0.000001`.

    Raises:
        ValueError: the text breaks `USD_RULE`.
    """
    match = _USD.fullmatch(text.strip())
    if match is None:
        raise ValueError(USD_RULE)
    whole, fraction = match.groups(default="")
    micros = int(whole) * MICROS_PER_USD + int(fraction.ljust(6, "0"))
    if micros > MAX_MICROS:
        raise ValueError(USD_RULE)
    return micros


def format_usd(micros: int) -> str:
    """Return an amount in US dollars, exactly, with at least two decimals.

    Args:
        micros: micro-US-dollars; may be negative.
    """
    whole, fraction = divmod(abs(micros), MICROS_PER_USD)
    decimals = f"{fraction:06d}".rstrip("0").ljust(2, "0")
    return f"{'-' if micros < 0 else ''}{whole}.{decimals}"
