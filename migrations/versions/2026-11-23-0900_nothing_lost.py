"""Leases, checkpoints and the history of arms; requests with a key; what is final stays so."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "2026112309"
down_revision = "2026112303"
branch_labels = None
depends_on = None

STATUSES = ("queued", "running", "succeeded", "failed", "cancelled")
REASONS = (
    *("submitted", "claimed", "restarted", "cancel_requested", "cancelled", "succeeded", "failed", "crash_loop"),
    *("worker_stopped", "process_lost", "lease_expired", "service_restarted"),
)


def _word(name: str, words: tuple[str, ...]) -> sa.Enum:
    return sa.Enum(*words, name=name, native_enum=False, create_constraint=True, length=32)


def upgrade() -> None:
    with op.batch_alter_table("arms") as arms:
        arms.add_column(sa.Column("lease_renewed_at", sa.DateTime(timezone=True), nullable=True))
        arms.add_column(sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True))
        arms.add_column(sa.Column("not_before", sa.DateTime(timezone=True), nullable=True))
        arms.add_column(sa.Column("crash_count", sa.Integer(), nullable=False, server_default="0"))
        arms.add_column(sa.Column("batches_at_crash", sa.Integer(), nullable=False, server_default="0"))
        arms.add_column(sa.Column("generation", sa.Integer(), nullable=False, server_default="1"))
        arms.add_column(sa.Column("fingerprint", sa.JSON(), nullable=True))
    with op.batch_alter_table("arms") as arms:  # the rows that were there have their values; new ones bring them
        for name in ("crash_count", "batches_at_crash", "generation"):
            arms.alter_column(name, server_default=None)
    _end_what_was_asked_to()
    # Trained by a version without checkpoints: such an arm begins again.
    op.execute("DELETE FROM curve_points WHERE arm_id IN (SELECT id FROM arms WHERE status = 'running')")
    op.execute(
        "UPDATE arms SET status = 'queued', worker = NULL, batches_done = 0, batches_per_second = NULL "
        "WHERE status = 'running'"
    )

    op.create_table(
        "arm_events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("arm_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("from_status", _word("from_status", STATUSES), nullable=True),
        sa.Column("to_status", _word("to_status", STATUSES), nullable=False),
        sa.Column("reason", _word("reason", REASONS), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("batches_done", sa.Integer(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["arm_id"], ["arms.id"], name="fk_arm_events_arm_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_arm_events"),
    )
    op.create_index("ix_arm_events_arm_id_id", "arm_events", ["arm_id", "id"])
    _tell_what_is_known()

    op.create_table(
        "checkpoints",
        sa.Column("arm_id", sa.Uuid(), nullable=False),
        sa.Column("batches_done", sa.Integer(), nullable=False),
        sa.Column("replicate", sa.Integer(), nullable=False),
        sa.Column("arrays_sha256", sa.String(64), nullable=False),
        sa.Column("arrays", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["arm_id"], ["arms.id"], name="fk_checkpoints_arm_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("arm_id", "batches_done", "replicate", name="pk_checkpoints"),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("request_sha256", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    _refuse_what_is_final()


def _end_what_was_asked_to() -> None:
    """Cancel the arms whose cancel their worker has not yet heard of: in the queue nobody would ask for it again."""
    arms = sa.table(
        "arms",
        *(sa.column("status", sa.String()), sa.column("cancel_requested", sa.Boolean())),
        sa.column("finished_at", sa.DateTime(timezone=True)),
    )
    op.execute(
        arms.update()
        .where(arms.c.cancel_requested.is_(True), arms.c.status.in_(("queued", "running")))
        .values(status="cancelled", finished_at=datetime.now(UTC))
    )


def _tell_what_is_known() -> None:
    """Give each arm the beginning and, if it has ended, the end of its history."""
    op.execute(
        "INSERT INTO arm_events (arm_id, at, from_status, to_status, reason, fence, batches_done, actor) "
        "SELECT id, created_at, NULL, 'queued', 'submitted', 0, 0, 'migration' FROM arms ORDER BY created_at"
    )
    op.execute(
        "INSERT INTO arm_events (arm_id, at, from_status, to_status, reason, fence, batches_done, actor) "
        "SELECT id, finished_at, CASE fence WHEN 0 THEN 'queued' ELSE 'running' END, status, status, fence, "
        "batches_done, 'migration' FROM arms WHERE finished_at IS NOT NULL ORDER BY finished_at"
    )


def _refuse_what_is_final() -> None:
    """Let the database itself refuse what no code may do: an ended arm that lives again, a history that changes."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE TRIGGER arms_final BEFORE UPDATE OF status ON arms "
            "WHEN OLD.status IN ('succeeded', 'failed', 'cancelled') AND NEW.status <> OLD.status "
            "BEGIN SELECT RAISE(ABORT, 'an arm that has ended stays so'); END"
        )
        op.execute(
            "CREATE TRIGGER arm_events_final BEFORE UPDATE ON arm_events "
            "BEGIN SELECT RAISE(ABORT, 'an event is never altered'); END"
        )
        return
    op.execute(
        "CREATE FUNCTION refuse_final() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'restrict_violation'; END $$"
    )
    op.execute(
        "CREATE TRIGGER arms_final BEFORE UPDATE OF status ON arms FOR EACH ROW "
        "WHEN (OLD.status IN ('succeeded', 'failed', 'cancelled') AND NEW.status <> OLD.status) "
        "EXECUTE FUNCTION refuse_final('an arm that has ended stays so')"
    )
    op.execute(
        "CREATE TRIGGER arm_events_final BEFORE UPDATE ON arm_events FOR EACH ROW "
        "EXECUTE FUNCTION refuse_final('an event is never altered')"
    )


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER arms_final")
    else:
        op.execute("DROP TRIGGER arms_final ON arms")
        op.execute("DROP TRIGGER arm_events_final ON arm_events")
        op.execute("DROP FUNCTION refuse_final()")
    op.drop_table("idempotency_keys")
    op.drop_table("checkpoints")
    op.drop_table("arm_events")
    # A version without leases knows no arm that goes on: what has been begun begins again.
    op.execute("DELETE FROM curve_points WHERE arm_id IN (SELECT id FROM arms WHERE status IN ('queued', 'running'))")
    op.execute(
        "UPDATE arms SET status = 'queued', worker = NULL, batches_done = 0, batches_per_second = NULL, "
        "started_at = NULL WHERE status IN ('queued', 'running')"
    )
    with op.batch_alter_table("arms") as arms:
        for name in ("fingerprint", "generation", "batches_at_crash", "crash_count", "not_before"):
            arms.drop_column(name)
        arms.drop_column("lease_expires_at")
        arms.drop_column("lease_renewed_at")
