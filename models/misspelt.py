"""Names in the environment that look like settings and are none: most likely misspelt, and without any effect."""

import os
from collections.abc import Iterable
from difflib import get_close_matches

from models.settings import Settings

PREFIX = "BNLAB_"
#: What the command line reads.
OF_OTHERS = ("BNLAB_URL", "BNLAB_API_KEY")


def sentences(names: Iterable[str] | None = None) -> list[str]:
    """Return a sentence for each such name, with the setting that may be meant; of the environment unless told."""
    known = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    # In upper case, because the settings are read whatever the case.
    unknown = sorted(
        name
        for name in (os.environ if names is None else names)
        if name.upper().startswith(PREFIX) and name.upper() not in (*known, *OF_OTHERS)
    )
    return [_sentence(name) for name in unknown]


def _sentence(name: str) -> str:
    near = get_close_matches(name[len(PREFIX) :].lower(), Settings.model_fields, n=1, cutoff=0.7)
    meant = f"perhaps {PREFIX}{near[0].upper()} is meant" if near else "the README lists them all"
    return f"{name} in the environment is no setting and has no effect; {meant}."
