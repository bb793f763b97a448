"""`python -m ops.doctor` looks at everything the service stands on and says what is wrong, and how to mend it.

It changes nothing. Exit codes: 0 no problem, 1 at least one.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Annotated

import typer

from models.settings import Settings, read_settings, refused
from ops import broker_checks, database_checks, machine_checks, work_checks
from ops.database import CannotUse
from ops.finding import Finding, Level, problem, warning

Check = Callable[[Settings], Iterable[Finding]]

CHECKS: dict[str, Check] = {
    "settings": machine_checks.settings,
    "database": database_checks.database,
    "migrations": database_checks.migrations,
    "clock": database_checks.clock,
    "broker": broker_checks.broker,
    "data": machine_checks.data,
    "disk": machine_checks.disk,
    "keys": machine_checks.api_keys,
    "workers": work_checks.workers,
    "queue": work_checks.queue,
    "arms": work_checks.arms,
}

LIMIT_S = 10.0

NOT_KNOWN = "Not known without the database"
LOOK_THERE = "See what is said of the database and the migrations."

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def examine(settings: Settings, checks: Mapping[str, Check] = CHECKS, limit_s: float = LIMIT_S) -> list[Finding]:
    """Make all checks at once and return what they found, in their order; one that hangs or fails hides no other."""
    found: dict[str, list[Finding]] = {}

    def make(name: str, check: Check) -> None:
        found[name] = _made(name, check, settings)

    threads = [threading.Thread(target=make, args=one, daemon=True) for one in checks.items()]
    for thread in threads:
        thread.start()
    end = time.monotonic() + limit_s
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    silent = f"No answer within {limit_s:g} s."
    late = "See what holds it up: a database or a disk that does not answer, or another program that keeps it locked."
    return [one for name in checks for one in found.get(name, [problem(name, silent, late)])]


def _made(name: str, check: Check, settings: Settings) -> list[Finding]:
    try:
        return list(check(settings))
    except CannotUse:
        return [warning(name, f"{NOT_KNOWN}.", LOOK_THERE)]
    except Exception as error:  # whatever it is, it belongs on this line and on no other
        reason = str(error).strip().partition("\n")[0]
        return [problem(name, f"This could not be checked: {type(error).__name__}: {reason}.", "Report this.")]


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print the findings for scripts.")] = False) -> None:
    """Say what is wrong with this set-up, and how to mend it. Nothing is changed."""
    findings = _refused() or examine(read_settings())
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _tell(findings)
    raise typer.Exit(int(any(finding.level is Level.PROBLEM for finding in findings)))


def _refused() -> list[Finding]:
    """Return what is wrong with the settings; then nothing else is looked at, for nobody knows where."""
    return [problem("settings", sentence, "Correct it, or remove it.") for sentence in refused()]


def _together(findings: list[Finding]) -> list[Finding]:
    """Return the findings with one in the place of all that are not known without the database."""
    unknown = [finding for finding in findings if finding.sentence == f"{NOT_KNOWN}."]
    if not unknown:
        return findings
    names = ", ".join(finding.check for finding in unknown)
    one = warning("others", f"{NOT_KNOWN}: {names}.", LOOK_THERE)
    return [finding for finding in findings if finding not in unknown] + [one]


def _tell(findings: list[Finding]) -> None:
    findings = _together(findings)
    for finding in findings:
        typer.echo(f"{finding.level:<8} {finding.check:<11} {finding.sentence}")
        if finding.mend:
            typer.echo(f"{'':20} → {finding.mend}")
    bad = [
        f"{count} {level}{'s' if count > 1 else ''}"
        for level in (Level.PROBLEM, Level.WARNING)
        if (count := sum(finding.level is level for finding in findings))
    ]
    typer.echo(f"{' and '.join(bad)}." if bad else "All is well.")


if __name__ == "__main__":
    app()
