"""API keys and what is whose; workers as they were last heard of; where an arm may train; traces of requests."""

import sqlalchemy as sa
from alembic import op

revision = "2026112315"
down_revision = "2026112309"
branch_labels = None
depends_on = None

FINAL = "BEFORE UPDATE OF status ON arms"


def _device() -> sa.Enum:
    return sa.Enum("auto", "cpu", "gpu", name="device", native_enum=False, create_constraint=True, length=32)


def _scope() -> sa.Enum:
    return sa.Enum("read", "write", "admin", name="scope", native_enum=False, create_constraint=True, length=32)


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("key_sha256", sa.String(64), nullable=False),
        sa.Column("beginning", sa.String(16), nullable=False),
        sa.Column("scope", _scope(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("requests_per_minute", sa.Integer(), nullable=True),
        sa.Column("max_active_experiments", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )
    op.create_index("uq_api_keys_key_sha256", "api_keys", ["key_sha256"], unique=True)
    op.create_table(
        "workers",
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("device", _device(), nullable=False),
        sa.Column("device_names", sa.JSON(), nullable=False),
        sa.Column("processes", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_workers"),
    )
    for name in ("sweeps", "experiments"):
        with op.batch_alter_table(name) as owned:
            owned.add_column(sa.Column("owner_id", sa.Uuid(), nullable=True))
            owned.create_foreign_key(f"fk_{name}_owner_id", "api_keys", ["owner_id"], ["id"])
            if name == "experiments":
                owned.add_column(sa.Column("request_id", sa.String(64), nullable=True))
                owned.add_column(sa.Column("traceparent", sa.String(64), nullable=True))
        op.create_index(f"ix_{name}_owner_id_created_at_id", name, ["owner_id", "created_at", "id"])
    _change_arms()
    _keep_keys_apart_by_owner()


def _change_arms() -> None:
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    with op.batch_alter_table("arms") as arms:
        arms.add_column(sa.Column("owner_id", sa.Uuid(), nullable=True))
        arms.add_column(sa.Column("device", _device(), nullable=False, server_default="auto"))
        arms.create_foreign_key("fk_arms_owner_id", "api_keys", ["owner_id"], ["id"])
        arms.drop_index("ix_arms_status_created_at")  # made anew, below, with one more column
    with op.batch_alter_table("arms") as arms:  # the rows that were there have their value; new ones bring it
        arms.alter_column("device", server_default=None)
    op.create_index("ix_arms_status_device_created_at", "arms", ["status", "device", "created_at"])
    op.create_index("ix_arms_status_created_at", "arms", ["status", "created_at", "experiment_id"])
    op.create_index("ix_arms_owner_id_status_created_at", "arms", ["owner_id", "status", "created_at", "experiment_id"])
    op.create_index("ix_arms_owner_id_finished_at", "arms", ["owner_id", "finished_at"])
    if on_sqlite:
        _refuse_what_is_final()


def _refuse_what_is_final() -> None:
    """Make the trigger anew that SQLite has lost with the copied table."""
    op.execute("DROP TRIGGER IF EXISTS arms_final")
    op.execute(
        f"CREATE TRIGGER arms_final {FINAL} "
        "WHEN OLD.status IN ('succeeded', 'failed', 'cancelled') AND NEW.status <> OLD.status "
        "BEGIN SELECT RAISE(ABORT, 'an arm that has ended stays so'); END"
    )


def _keep_keys_apart_by_owner() -> None:
    with op.batch_alter_table("idempotency_keys") as keys:
        keys.add_column(sa.Column("owner", sa.String(36), nullable=False, server_default=""))
        keys.drop_constraint("pk_idempotency_keys", type_="primary")
        keys.create_primary_key("pk_idempotency_keys", ["owner", "key"])
    with op.batch_alter_table("idempotency_keys") as keys:
        keys.alter_column("owner", server_default=None)


def downgrade() -> None:
    op.execute("DELETE FROM idempotency_keys WHERE owner <> ''")  # of two owners' equal keys one would be in the way
    with op.batch_alter_table("idempotency_keys") as keys:
        keys.drop_constraint("pk_idempotency_keys", type_="primary")
        keys.drop_column("owner")
        keys.create_primary_key("pk_idempotency_keys", ["key"])
    op.drop_index("ix_arms_owner_id_finished_at", "arms")
    op.drop_index("ix_arms_owner_id_status_created_at", "arms")
    op.drop_index("ix_arms_status_created_at", "arms")
    op.drop_index("ix_arms_status_device_created_at", "arms")
    with op.batch_alter_table("arms") as arms:
        arms.drop_constraint("fk_arms_owner_id", type_="foreignkey")
        arms.drop_constraint("device", type_="check")
        arms.drop_column("device")
        arms.drop_column("owner_id")
        arms.create_index("ix_arms_status_created_at", ["status", "created_at"])
    if op.get_bind().dialect.name == "sqlite":
        _refuse_what_is_final()
    for name in ("experiments", "sweeps"):
        op.drop_index(f"ix_{name}_owner_id_created_at_id", name)
        with op.batch_alter_table(name) as owned:
            owned.drop_constraint(f"fk_{name}_owner_id", type_="foreignkey")
            owned.drop_column("owner_id")
            if name == "experiments":
                owned.drop_column("traceparent")
                owned.drop_column("request_id")
    op.drop_table("workers")
    op.drop_table("api_keys")
