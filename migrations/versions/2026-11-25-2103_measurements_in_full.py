"""all quantities of a measurement, canaries, noise floors, re-measurements."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NEW = (
    "superseded", "p95_ns", "p999_ns", "low_ratio_low", "low_ratio_high", "ratio_df", "noise_floor", "parts", "facts",
)  # fmt: skip
FILLED = ("superseded", "parts", "facts")
"""Columns that rows of before get a value for; from now on every row brings its own."""


def upgrade() -> None:
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "canary_timing",
        sa.Column("id", key, nullable=False),
        sa.Column("attempt_id", key, nullable=False),
        sa.Column("device_id", key, nullable=False),
        sa.Column("conditions_id", key, nullable=False),
        sa.Column("canary_key", sa.String(length=64), nullable=False),
        sa.Column("start_ns", sa.BigInteger(), nullable=False),
        sa.Column("end_ns", sa.BigInteger(), nullable=False),
        sa.Column("is_off", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_canary_timing_attempt_id_attempt")),
        sa.ForeignKeyConstraint(
            ["conditions_id"], ["conditions.id"], name=op.f("fk_canary_timing_conditions_id_conditions")
        ),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name=op.f("fk_canary_timing_device_id_device")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_canary_timing")),
        sa.UniqueConstraint("attempt_id", name=op.f("uq_canary_timing_attempt_id")),
    )
    op.create_index("ix_canary_timing_device_id_canary_key_id", "canary_timing", ["device_id", "canary_key", "id"])
    with op.batch_alter_table("measurement", schema=None) as batch_op:
        batch_op.add_column(sa.Column("superseded", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("p95_ns", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("p999_ns", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("low_ratio_low", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("low_ratio_high", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("ratio_df", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("noise_floor", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("parts", sa.JSON(), nullable=False, server_default=sa.text("'{}'")))
        batch_op.add_column(sa.Column("facts", sa.JSON(), nullable=False, server_default=sa.text("'{}'")))
    with op.batch_alter_table("measurement", schema=None) as batch_op:
        for name in FILLED:
            batch_op.alter_column(name, server_default=None)
    op.create_index("ix_measurement_device_id_role_id", "measurement", ["device_id", "role", "id"])


def downgrade() -> None:
    op.drop_index("ix_measurement_device_id_role_id", table_name="measurement")
    with op.batch_alter_table("measurement", schema=None) as batch_op:
        for name in NEW:
            batch_op.drop_column(name)

    op.drop_index("ix_canary_timing_device_id_canary_key_id", table_name="canary_timing")
    op.drop_table("canary_timing")
