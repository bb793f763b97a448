"""The API and its own document agree, whatever is asked of it: Schemathesis with all its checks, on a real process."""

import shutil
from pathlib import Path

import pytest
from builders import failed, running, submitted, succeeded

from bench.fuzz import cases, fuzz
from models.database import Database

#: For each route and kind of test; `python -m bench fuzz` makes more.
EXAMPLES = 8


@pytest.mark.timeout(600)
def test_no_request_made_from_the_document_is_answered_otherwise_than_it_says(
    tmp_path: Path, migrated_sqlite: Path
) -> None:
    database = Database(f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path / 'bnlab.sqlite3')}")
    for made in (succeeded, succeeded, failed, running, submitted):
        made(database)
    database.close()
    code, said = fuzz(tmp_path, EXAMPLES)
    print(said)
    assert code == 0, "see what Schemathesis says above"
    assert cases(said) > 500
