"""Amounts as people read them; fields and records have whole micro-US-dollars."""


def usd(micros: int) -> str:
    """Return an amount in US dollars, exactly, with at least two decimals."""
    whole, rest = divmod(abs(micros), 10**6)
    cents = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{'-' if micros < 0 else ''}{whole}.{cents} USD"
