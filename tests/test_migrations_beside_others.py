"""Migrations while others work: they wait their turn, hold nobody up for long, and keep to CONTRIBUTING.md."""

import ast
import os
import re
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from builders import submitted, succeeded
from conftest import ROOT, wait_until
from sqlalchemy import inspect, select, text

from migrations.__main__ import configuration, upgrade
from models import schema
from models.database import Database
from models.tables import Arm, Experiment

REVISIONS = sorted((ROOT / "migrations" / "versions").glob("*.py"))

# ------------------------------------------------------------------------------------------------ beside others


@pytest.fixture
def old_postgres(new_postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A Postgres database of the revision before the newest that changes tables which are in use."""
    monkeypatch.setenv("BNLAB_DATABASE_URL", new_postgres_url)
    command.downgrade(configuration(), "2026112309")
    opened = Database(new_postgres_url)
    yield opened
    opened.close()


def migrating(database: Database, *program: str) -> subprocess.Popen[str]:
    url = database.engine.url.render_as_string(hide_password=False)
    environment = {**os.environ, "BNLAB_DATABASE_URL": url, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *(program or ("-m", "migrations"))]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def is_current(database: Database) -> bool:
    with database.read() as session:
        return schema.is_current(session)


def test_a_migration_that_waits_for_a_long_look_lets_others_pass_and_comes_again(old_postgres: Database) -> None:
    slowest, ended = 0.0, threading.Event()

    def look() -> None:
        nonlocal slowest
        while not ended.wait(0.05):
            begin = time.monotonic()
            with old_postgres.read() as session:
                session.execute(select(Experiment.created_at).limit(1))
            slowest = max(slowest, time.monotonic() - begin)

    looking = threading.Thread(target=look)
    with old_postgres.read() as session:
        session.execute(select(Arm.id).limit(1))  # this transaction, a backup perhaps, is open and stays so
        session.execute(select(Experiment.id).limit(1))
        migration = migrating(old_postgres)
        assert migration.stderr is not None
        looking.start()
        said = [migration.stderr.readline() for _ in range(2)]
        assert all("Other transactions hold a table" in line for line in said), said
    _, rest = migration.communicate(timeout=120)
    ended.set()
    looking.join()
    assert migration.returncode == 0, rest
    assert is_current(old_postgres)
    assert slowest < 20, "who only looks waits for one try of the migration, never for the long transaction"


def test_after_each_pause_it_does_try_again(
    old_postgres: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("migrations.__main__.PAUSES_S", (0.1,))
    with old_postgres.read() as session:
        session.execute(select(Arm.id).limit(1))
        with pytest.raises(SystemExit, match="do not let go"):
            upgrade()
        assert capsys.readouterr().err.count("trying again") == 1
        monkeypatch.setattr("time.sleep", lambda _: session.rollback())  # who looked is gone during the pause
        upgrade()
    assert is_current(old_postgres)


def test_two_migrations_at_once_both_end_well(old_postgres: Database) -> None:
    both = [migrating(old_postgres) for _ in range(2)]
    said = [migration.communicate(timeout=120)[1] for migration in both]
    assert [migration.returncode for migration in both] == [0, 0], said
    assert is_current(old_postgres)


def test_a_migration_that_was_killed_leaves_its_turn_to_the_next(old_postgres: Database) -> None:
    with old_postgres.read() as session:
        session.execute(select(Arm.id).limit(1))
        killed = migrating(old_postgres)
        assert killed.stderr is not None
        killed.stderr.readline()  # it tries
        killed.kill()
        killed.communicate(timeout=30)
    done = migrating(old_postgres)
    _, said = done.communicate(timeout=120)
    assert done.returncode == 0, said
    wait_until(lambda: is_current(old_postgres))


def test_a_newer_database_is_left_as_it_is_and_this_version_works_on_it(database: Database) -> None:
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '2099010100'"))
    done = migrating(database)
    _, said = done.communicate(timeout=60)
    assert (done.returncode, said) == (0, "")
    assert is_current(database)


INDEX = """
    with op.get_context().autocommit_block():
        op.drop_index("ix_arms_colour", "arms", if_exists=True, postgresql_concurrently=True)
        op.create_index("ix_arms_colour", "arms", ["colour"], postgresql_concurrently=True)
"""
COLUMN = """
    op.add_column("arms", sa.Column("colour", sa.String(), nullable=False, server_default="red"))
"""


def revision(name: str, before: str, upgrade: str) -> str:
    return f"""
import sqlalchemy as sa
from alembic import op

revision = "{name}"
down_revision = "{before}"
branch_labels = depends_on = None


def upgrade() -> None:
{upgrade}
"""


#: What comes after the newest revision, written as CONTRIBUTING.md wants it: by file.
NEXT = {
    "2099-01-01-0000_colours.py": revision("2099010100", schema.REVISION, COLUMN),
    "2099-01-02-0000_find_colours.py": revision("2099010200", "2099010100", INDEX),
}


@pytest.fixture
def next_version(tmp_path: Path) -> str:
    """The program that runs the migrations of a later version."""
    versions = shutil.copytree(ROOT / "migrations", tmp_path / "migrations") / "versions"
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name, source in NEXT.items():
        (versions / name).write_text(source)
    program = tmp_path / "migrate.py"
    program.write_text("from migrations.__main__ import upgrade\nupgrade()\n")
    return str(program)


def test_revisions_as_contributing_md_wants_them_run_and_the_version_before_works_on_them(
    database: Database, next_version: str
) -> None:
    assert [broken_rules(source) for source in NEXT.values()] == [[], []]
    submitted(database)
    migration = migrating(database, next_version)
    _, said = migration.communicate(timeout=60)
    assert (migration.returncode, said) == (0, "")
    assert "ix_arms_colour" in {index["name"] for index in inspect(database.engine).get_indexes("arms")}
    assert is_current(database)
    succeeded(database)


def test_an_index_is_built_beside_a_long_look_while_others_write_and_again_after_a_kill(
    new_postgres_url: str, next_version: str
) -> None:
    database = Database(new_postgres_url)

    def index_is_valid() -> bool | None:
        with database.read() as session:
            asked = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('ix_arms_colour')")
            return session.execute(asked).scalar_one_or_none()

    with database.read() as session:
        session.execute(select(Experiment.id).limit(1))  # of another table; what it sees is kept for it all the same
        killed = migrating(database, next_version)
        wait_until(lambda: index_is_valid() is False, what="an index that is not finished")
        killed.kill()
        killed.communicate(timeout=30)
        again = migrating(database, next_version)
        with pytest.raises(subprocess.TimeoutExpired):  # longer than one waits for a lock
            again.wait(5)
        submitted(database)
        succeeded(database)
    _, said = again.communicate(timeout=60)
    assert (again.returncode, said) == (0, "")
    assert index_is_valid()
    assert is_current(database)
    database.close()


# ---------------------------------------------------------------------------------------- what it reports as what


def run_in(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "migrations"],
        cwd=ROOT,
        env={**os.environ, "BNLAB_STATE_DIR": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_mistake_in_a_migration_is_not_reported_as_a_wrong_address(tmp_path: Path) -> None:
    wrong = tmp_path / "inside"
    wrong.mkdir()
    (wrong / "sitecustomize.py").write_text(
        "import alembic.command\n"
        "from sqlalchemy.exc import ArgumentError\n"
        "def upgrade(*_):\n    raise ArgumentError('a column has no type')\n"
        "alembic.command.upgrade = upgrade\n"
    )
    done = run_in(tmp_path / "state", PYTHONPATH=str(wrong))
    assert done.returncode == 1
    assert "a column has no type" in done.stderr
    assert "BNLAB_DATABASE_URL" not in done.stderr


def test_a_misspelt_setting_is_named_with_the_one_that_is_meant(tmp_path: Path) -> None:
    done = run_in(tmp_path, BNLAB_DATABSE_URL="x", BNLAB_URL="http://x", BNLAB_COLOUR="y")
    assert done.returncode == 0
    said = [line for line in done.stderr.splitlines() if line.startswith("Warning")]
    assert len(said) == 2
    assert "BNLAB_COLOUR in the environment is no setting" in said[0]
    assert "BNLAB_DATABSE_URL in the environment is no setting" in said[1]
    assert "perhaps BNLAB_DATABASE_URL is meant" in said[1]


# -------------------------------------------------------------------------------- the rules of CONTRIBUTING.md

#: From the next one on, a revision leaves the version before it able to work.
LAST_WITHOUT_RULES = "2026112315"
TAKES_AWAY = {"drop_table", "drop_column", "drop_constraint", "rename_table"}


def broken_rules(source: str) -> list[str]:
    """Return what a revision's `upgrade` does that the version before it would not survive.

    `CONTRACTS = "…"` in the revision, with the release that stopped using what goes, allows taking away.
    """
    module = ast.parse(source)
    contracts = any(
        isinstance(line, ast.Assign) and [ast.unparse(one) for one in line.targets] == ["CONTRACTS"]
        for line in module.body
    )
    functions = [one for one in module.body if isinstance(one, ast.FunctionDef) and one.name != "downgrade"]
    nodes = [node for function in functions for node in ast.walk(function)]
    calls = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    broken = [broken for call in calls for broken in _broken_by(call, contracts)]
    statements = "\n".join(ast.unparse(line) for function in functions for line in function.body)
    if CONCURRENT.search(statements) and not INDEX_BY_ITSELF.fullmatch(statements):
        broken.append(
            "an index that is built concurrently is a revision by itself: in an autocommit_block, drop_index with "
            "if_exists=True and postgresql_concurrently=True, then create_index, and nothing else"
        )
    return broken


CONCURRENT = re.compile(r"postgresql_concurrently=True|autocommit_block")
#: No transaction takes back what was done, so all of it must be done again: also where an unfinished index was left.
INDEX_BY_ITSELF = re.compile(
    r"with op\.get_context\(\)\.autocommit_block\(\):\n"
    r"    op\.drop_index\((?P<name>[^,]+), (?=.*if_exists=True)(?=.*postgresql_concurrently=True).*\)\n"
    r"    op\.create_index\((?P=name), (?=.*postgresql_concurrently=True).*\)"
)


def _broken_by(call: ast.Call, contracts: bool) -> Iterator[str]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if name in TAKES_AWAY and not contracts:
        yield f"{name}: what the version before uses is taken away"
    if name == "alter_column" and {"new_column_name", "type_"} & given.keys():
        yield "alter_column: a column is renamed or becomes another type; add a new one beside it"
    if name == "alter_column" and _is(given.get("nullable"), False) and not contracts:
        yield "alter_column: what the version before leaves empty is refused"
    if name == "add_column":
        column = next((one for one in ast.walk(call) if isinstance(one, ast.Call) and one is not call), call)
        options = {keyword.arg: keyword.value for keyword in column.keywords}
        if _is(options.get("nullable"), False) and "server_default" not in options:
            yield "add_column: the version before does not fill it; let it be empty, or give it a server_default"
    if name == "create_index" and not _is(given.get("postgresql_concurrently"), True):
        yield "create_index: nobody can write meanwhile; build it with postgresql_concurrently=True"


def _is(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def test_each_new_revision_leaves_the_version_before_it_able_to_work() -> None:
    found = {file.name: broken_rules(file.read_text()) for file in REVISIONS if _revision(file) > LAST_WITHOUT_RULES}
    assert {name: broken for name, broken in found.items() if broken} == {}


def _revision(file: Path) -> str:
    found = re.search(r'^revision = "(.*)"$', file.read_text(), re.MULTILINE)
    assert found, f"{file.name} has no revision"
    return found[1]


def test_revisions_are_moments_in_the_order_of_their_files() -> None:
    revisions = [_revision(file) for file in REVISIONS]
    assert revisions == sorted(revisions)
    for file, revision in zip(REVISIONS, revisions, strict=True):
        assert file.name.replace("-", "").startswith(revision), f"{file.name} and its revision {revision} differ"


WRONG = {
    'op.drop_column("arms", "worker")': "taken away",
    'op.rename_table("arms", "halves")': "taken away",
    'op.alter_column("arms", "worker", new_column_name="process")': "renamed",
    'op.alter_column("arms", "fence", type_=sa.BigInteger())': "another type",
    'op.alter_column("arms", "worker", nullable=False)': "refused",
    'op.add_column("arms", sa.Column("colour", sa.String(), nullable=False))': "does not fill it",
    'op.create_index("ix_arms_colour", "arms", ["colour"])': "nobody can write",
    'op.create_index("ix_arms_colour", "arms", ["colour"], postgresql_concurrently=True)': "a revision by itself",
    COLUMN + INDEX: "a revision by itself",
    INDEX + INDEX: "a revision by itself",
    INDEX.replace("if_exists=True, ", ""): "a revision by itself",
    INDEX.replace('drop_index("ix_arms_colour"', 'drop_index("ix_arms_color"'): "a revision by itself",
}
RIGHT = (
    'op.add_column("arms", sa.Column("colour", sa.String(), nullable=True))',
    'op.add_column("arms", sa.Column("colour", sa.String(), nullable=False, server_default="red"))',
    INDEX,
    'op.create_table("colours", sa.Column("id", sa.Uuid(), nullable=False))',
)


@pytest.mark.parametrize("statement", WRONG)
def test_what_the_version_before_would_not_survive_is_found(statement: str) -> None:
    (broken,) = broken_rules(_upgrade(statement))
    assert WRONG[statement] in broken


@pytest.mark.parametrize("statement", RIGHT)
def test_what_the_version_before_does_not_notice_is_allowed(statement: str) -> None:
    assert broken_rules(_upgrade(statement)) == []


def _upgrade(statements: str) -> str:
    return "def upgrade() -> None:\n" + textwrap.indent(textwrap.dedent(statements), "    ")


def test_what_no_version_uses_any_more_may_go_where_that_is_said() -> None:
    upgrade = 'def upgrade() -> None:\n    op.drop_column("arms", "worker")\n'
    assert broken_rules(f'CONTRACTS = "not used since 0.7"\n{upgrade}') == []
    assert broken_rules(upgrade)


def test_the_rules_find_what_the_newest_revision_without_them_does() -> None:
    (last,) = [file for file in REVISIONS if _revision(file) == LAST_WITHOUT_RULES]
    assert broken_rules(last.read_text())
