"""device reports, and what they prove."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "device_report",
        sa.Column("id", key, nullable=False),
        sa.Column("public_id", sa.String(), nullable=False),
        sa.Column("device_id", key, nullable=False),
        sa.Column("report_hash", sa.String(length=64), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("ranked_rows", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name=op.f("fk_device_report_device_id_device")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_report")),
        sa.UniqueConstraint("device_id", "report_hash", name=op.f("uq_device_report_device_id_report_hash")),
        sa.UniqueConstraint("public_id", name=op.f("uq_device_report_public_id")),
    )
    op.create_table(
        "proof",
        sa.Column("id", key, nullable=False),
        sa.Column("report_id", key, nullable=False),
        sa.Column("project_id", key, nullable=False),
        sa.Column("device_model", sa.String(), nullable=False),
        sa.Column("backend", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("problems", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_proof_project_id_project")),
        sa.ForeignKeyConstraint(["report_id"], ["device_report.id"], name=op.f("fk_proof_report_id_device_report")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proof")),
        sa.UniqueConstraint(
            "report_id",
            "device_model",
            "backend",
            "version",
            name=op.f("uq_proof_report_id_device_model_backend_version"),
        ),
    )
    with op.batch_alter_table("proof", schema=None) as batch_op:
        batch_op.create_index(
            "ix_proof_class", ["project_id", "device_model", "backend", "version", "passed"], unique=False
        )


def downgrade() -> None:
    with op.batch_alter_table("proof", schema=None) as batch_op:
        batch_op.drop_index("ix_proof_class")

    op.drop_table("proof")
    op.drop_table("device_report")
