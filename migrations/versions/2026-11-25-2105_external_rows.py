"""rows that other tools measured, and why variants are slow."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "external",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("public_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("format", sa.String(length=40), nullable=False),
        sa.Column("tool", sa.String(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("precision", sa.String(), nullable=True),
        sa.Column("batch_size", sa.BigInteger(), nullable=True),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("p50_ns", sa.BigInteger(), nullable=False),
        sa.Column("p90_ns", sa.BigInteger(), nullable=True),
        sa.Column("p99_ns", sa.BigInteger(), nullable=True),
        sa.Column("n_samples", sa.BigInteger(), nullable=True),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("p50_ns > 0", name=op.f("ck_external_latency_positive")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_external_project_id_project")),
        sa.ForeignKeyConstraint(["sha256"], ["artifact.sha256"], name=op.f("fk_external_sha256_artifact")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_external")),
        sa.UniqueConstraint("public_id", name=op.f("uq_external_public_id")),
        sa.UniqueConstraint(
            "project_id", "sha256", "device", "model", name=op.f("uq_external_project_id_sha256_device_model")
        ),
    )
    with op.batch_alter_table("external", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_external_sha256"), ["sha256"], unique=False)

    op.create_table(
        "explanation",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("variant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("attempt_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("conditions_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("why", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_explanation_attempt_id_attempt")),
        sa.ForeignKeyConstraint(
            ["conditions_id"], ["conditions.id"], name=op.f("fk_explanation_conditions_id_conditions")
        ),
        sa.ForeignKeyConstraint(["variant_id"], ["variant.id"], name=op.f("fk_explanation_variant_id_variant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_explanation")),
        sa.UniqueConstraint("variant_id", "attempt_id", name=op.f("uq_explanation_variant_id_attempt_id")),
    )


def downgrade() -> None:
    op.drop_table("explanation")
    op.drop_table("external")
