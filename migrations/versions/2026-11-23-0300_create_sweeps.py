"""Create sweeps; note of trained networks their starting weights and when they reached 90 %."""

import sqlalchemy as sa
from alembic import op

revision = "2026112303"
down_revision = "2026112218"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sweeps",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sweeps"),
    )
    op.create_index("ix_sweeps_created_at_id", "sweeps", ["created_at", "id"])

    with op.batch_alter_table("experiments") as experiments:
        experiments.add_column(sa.Column("sweep_id", sa.Uuid(), nullable=True))
        experiments.add_column(sa.Column("position", sa.Integer(), nullable=True))
        experiments.create_foreign_key("fk_experiments_sweep_id", "sweeps", ["sweep_id"], ["id"], ondelete="CASCADE")
        experiments.create_index("uq_experiments_sweep_id_position", ["sweep_id", "position"], unique=True)

    # SQLite reads all of a row's bytes to come to what stands behind them: the arrays, 0.4 MB, become the last.
    if op.get_bind().dialect.name == "sqlite":
        order = ("result", "starting_weights_sha256", "reached_90_percent_after", "arrays")
        altered = op.batch_alter_table("networks", recreate="always", partial_reordering=[order])
    else:
        altered = op.batch_alter_table("networks")
    with altered as networks:
        networks.add_column(sa.Column("starting_weights_sha256", sa.String(64), nullable=True))
        networks.add_column(sa.Column("reached_90_percent_after", sa.Integer(), nullable=True))
    _note_when_90_percent_was_reached()


def _note_when_90_percent_was_reached() -> None:
    """Look it up, for the networks that are there, in the points of their curves and in their final accuracy."""
    connection = op.get_bind()
    arms = sa.table("arms", sa.column("id", sa.Uuid()), sa.column("batches_done", sa.Integer()))
    points = sa.table(
        "curve_points",
        *(sa.column(name, kind) for name, kind in (("arm_id", sa.Uuid()), ("correct", sa.JSON()))),
        *(sa.column(name, sa.Integer()) for name in ("step", "total")),
    )
    networks = sa.table(
        "networks",
        *(sa.column(name, kind) for name, kind in (("arm_id", sa.Uuid()), ("result", sa.JSON()))),
        *(sa.column(name, sa.Integer()) for name in ("replicate", "reached_90_percent_after")),
    )
    ended = sa.select(networks.c.arm_id, networks.c.replicate, networks.c.result, arms.c.batches_done)
    for network in connection.execute(ended.join(arms, arms.c.id == networks.c.arm_id)).all():
        result = network.result
        curve = connection.execute(
            sa.select(points.c.step, points.c.correct, points.c.total)
            .where(points.c.arm_id == network.arm_id)
            .order_by(points.c.step)
        )
        seen = [(point.step + 1, point.correct[network.replicate], point.total) for point in curve]
        seen.append((network.batches_done, result["validation_correct"], result["validation_total"]))
        reached = next((batches for batches, correct, total in seen if correct * 10 >= total * 9), None)
        connection.execute(
            networks.update()
            .where(networks.c.arm_id == network.arm_id, networks.c.replicate == network.replicate)
            .values(reached_90_percent_after=reached)
        )


def downgrade() -> None:
    with op.batch_alter_table("networks") as networks:
        networks.drop_column("reached_90_percent_after")
        networks.drop_column("starting_weights_sha256")
    with op.batch_alter_table("experiments") as experiments:
        experiments.drop_index("uq_experiments_sweep_id_position")
        experiments.drop_constraint("fk_experiments_sweep_id", type_="foreignkey")
        experiments.drop_column("position")
        experiments.drop_column("sweep_id")
    op.drop_table("sweeps")
