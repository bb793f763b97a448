"""The suite is red without its safeguards: each is switched off in turn, and the tests that watch over it must fail."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mutations import MUTATIONS

ROOT = Path(__file__).parents[1]

#: Which tests watch over each safeguard.
WATCH = {
    "fencing": ["tests/test_models_arms.py"],
    "reconciler": ["tests/test_models_leases.py"],
    "checkpoint_transaction": ["tests/test_models_arms.py"],
    "batch_order": ["tests/test_worker_tasks.py", "-k", "crashed or stopped"],
    "ownership": ["tests/test_api_keys.py", "-k", "does_not_exist_for_others and sqlite"],
    "lanes": ["tests/test_models_lanes.py", "-k", "waits_until_a_worker and sqlite"],
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_without_a_safeguard_the_tests_that_watch_over_it_fail(mutation: str) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "mutations", "-p", "no:cacheprovider", "-x", "-q"]
    environment = {**os.environ, "BNLAB_MUTATION": mutation, "PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run(
        [*command, *WATCH[mutation]], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    (failed,) = re.findall(r"^FAILED (\S+)", done.stdout, re.MULTILINE)
    assert failed.startswith(WATCH[mutation][0]), done.stdout  # a test has failed; nothing was in error
