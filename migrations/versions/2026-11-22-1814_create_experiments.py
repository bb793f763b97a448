"""Create experiments, their arms, the points of their curves and their trained networks."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "2026112218"
down_revision = None
branch_labels = None
depends_on = None

ARM_NAMES = ("without_batch_norm", "with_batch_norm")
STATUSES = ("queued", "running", "succeeded", "failed", "cancelled")


def _words(words: tuple[str, ...], name: str) -> sa.Enum:
    return sa.Enum(*words, name=name, native_enum=False, create_constraint=True, length=32)


def _moment(name: str, nullable: bool = True) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "experiments",
        sa.Column("id", sa.Uuid(), nullable=False),
        _moment("created_at", nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("dataset_sha256", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_experiments"),
    )
    op.create_index("ix_experiments_created_at_id", "experiments", ["created_at", "id"])

    op.create_table(
        "arms",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("experiment_id", sa.Uuid(), nullable=False),
        sa.Column("name", _words(ARM_NAMES, "arm_name"), nullable=False),
        sa.Column("status", _words(STATUSES, "status"), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("worker", sa.String(), nullable=True),
        _moment("created_at", nullable=False),
        _moment("started_at"),
        _moment("finished_at"),
        sa.Column("batches_done", sa.Integer(), nullable=False),
        sa.Column("batches_per_second", sa.Double(), nullable=True),
        sa.Column("error_code", sa.String(64), nullable=True),
        sa.Column("error_message", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiments.id"], name="fk_arms_experiment_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_arms"),
    )
    op.create_index("uq_arms_experiment_id_name", "arms", ["experiment_id", "name"], unique=True)
    op.create_index("ix_arms_status_created_at", "arms", ["status", "created_at"])
    op.create_index("ix_arms_finished_at", "arms", ["finished_at"])

    op.create_table(
        "curve_points",
        sa.Column("arm_id", sa.Uuid(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("correct", sa.JSON(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["arm_id"], ["arms.id"], name="fk_curve_points_arm_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("arm_id", "step", name="pk_curve_points"),
    )

    op.create_table(
        "networks",
        sa.Column("arm_id", sa.Uuid(), nullable=False),
        sa.Column("replicate", sa.Integer(), nullable=False),
        sa.Column("arrays", sa.LargeBinary(), nullable=False),
        sa.Column("arrays_sha256", sa.String(64), nullable=False),
        sa.Column("diverged_at", sa.Integer(), nullable=True),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["arm_id"], ["arms.id"], name="fk_networks_arm_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("arm_id", "replicate", name="pk_networks"),
    )


def downgrade() -> None:
    for table in ("networks", "curve_points", "arms", "experiments"):
        op.drop_table(table)
