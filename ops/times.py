"""Times as an operator writes them: 12h, 30d, 8w."""

import re

import typer

HOUR_S = 3_600
UNITS_S = {"h": HOUR_S, "d": 24 * HOUR_S, "w": 7 * 24 * HOUR_S}
LONGEST_S = 36_500 * UNITS_S["d"]
ALLOWED = "a number of hours, days or weeks, such as 12h, 30d or 8w, and 36500d at most"


def seconds(text: str) -> int:
    """Return the seconds of a time such as 30d. Raises typer's BadParameter."""
    match = re.fullmatch(r"([1-9][0-9]{0,9})([hdw])", text.strip())
    found = int(match[1]) * UNITS_S[match[2]] if match else 0
    if not match or found > LONGEST_S:
        raise typer.BadParameter(f"allowed is {ALLOWED}; received {text!r}.")
    return found
