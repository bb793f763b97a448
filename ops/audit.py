"""`python -m ops.audit` asks whether a vulnerability is known in what the locked requirements install."""

import json
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]

#: Together they name everything that any image or any developer installs.
REQUIREMENTS = (ROOT / "requirements" / "dev.txt", ROOT / "requirements" / "worker-gpu.txt")
TIMEOUT_S = 180.0


class Verdict(NamedTuple):
    """What came of an audit: a line for each finding, and whether the check is red."""

    lines: list[str]
    red: bool


def main() -> int:
    """Audit, unless the vulnerability service cannot be asked: no answer is no finding, and is said."""
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "probe.txt"  # one package that the service must know, before it is asked for all
        probe.write_text(f"pip-audit=={version('pip-audit')}\n")
        found = verdict(*audited(["--no-deps", "--requirement", str(probe)]))
    if found.lines == [] or found.red:
        files = [option for file in REQUIREMENTS for option in ("--requirement", str(file))]
        found = verdict(*audited(["--require-hashes", *files]))
    for line in found.lines:
        print(line)
    return int(found.red)


def audited(options: list[str]) -> tuple[str, str]:
    """Run pip-audit, which resolves and installs nothing; return what it wrote and what it complained of."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    try:
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return "", f"the vulnerability service has not answered within {TIMEOUT_S:g} s"
    return done.stdout, done.stderr


def verdict(written: str, complaints: str) -> Verdict:
    """Judge what pip-audit wrote: it also ends well when the service knows not one of the packages."""
    try:
        packages: list[dict[str, Any]] = json.loads(written)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = next(reversed(complaints.strip().splitlines()), "pip-audit said nothing")
        return Verdict([f"the dependency audit was not run: {last}"], red=False)
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    if len(unknown) == len(packages):
        reason = "the vulnerability service that can be reached from here knows none of the packages"
        return Verdict([f"the dependency audit was not run: {reason}"], red=False)
    lines = [_line(package, found) for package in packages for found in package.get("vulns", [])]
    skipped = [f"the dependency audit could not look at: {', '.join(unknown)}"] if unknown else []
    return Verdict([*lines, *skipped], red=bool(lines))


def _line(package: dict[str, Any], found: dict[str, Any]) -> str:
    mended = ", ".join(found["fix_versions"]) or "no release yet"
    return f"{package['name']} {package['version']}: {found['id']}, mended in {mended}"


if __name__ == "__main__":
    sys.exit(main())
