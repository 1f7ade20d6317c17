"""search, trials, uploads and checkpoints."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "upload",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_upload_project_id_project")),
        sa.ForeignKeyConstraint(["sha256"], ["artifact.sha256"], name=op.f("fk_upload_sha256_artifact")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_upload")),
        sa.UniqueConstraint("project_id", "sha256", "kind", name=op.f("uq_upload_project_id_sha256_kind")),
    )
    with op.batch_alter_table("upload", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_upload_sha256"), ["sha256"], unique=False)

    op.create_table(
        "scoring",
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("base_untrained_sha256", sa.String(length=64), nullable=False),
        sa.Column("architectures", sa.JSON(), nullable=False),
        sa.Column("edits", sa.JSON(), nullable=False),
        sa.Column("filter_scores_sha256", sa.String(length=64), nullable=True),
        sa.Column("epoch_seconds", sa.Double(), nullable=True),
        sa.Column("recipe", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["base_untrained_sha256"], ["artifact.sha256"], name=op.f("fk_scoring_base_untrained_sha256_artifact")
        ),
        sa.ForeignKeyConstraint(
            ["filter_scores_sha256"], ["artifact.sha256"], name=op.f("fk_scoring_filter_scores_sha256_artifact")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_scoring_job_id_job")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_scoring")),
    )
    op.create_table(
        "solution",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("round_no", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.String(), nullable=False),
        sa.Column("target", sa.Double(), nullable=False),
        sa.Column("family", sa.String(), nullable=False),
        sa.Column("criterion", sa.String(), nullable=False),
        sa.Column("plan_hash", sa.String(length=64), nullable=False),
        sa.Column("architecture", sa.String(length=64), nullable=False),
        sa.Column("predicted", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_solution_job_id_job")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_solution")),
    )
    with op.batch_alter_table("solution", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_solution_job_id"), ["job_id"], unique=False)

    op.create_table(
        "trial_score",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("epochs", sa.BigInteger(), nullable=False),
        sa.Column("plan_hash", sa.String(length=64), nullable=False),
        sa.Column("correct", sa.BigInteger(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_trial_score_job_id_job")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trial_score")),
        sa.UniqueConstraint("job_id", "epochs", "plan_hash", name=op.f("uq_trial_score_job_id_epochs_plan_hash")),
    )
    with op.batch_alter_table("attempt", schema=None) as batch_op:
        batch_op.add_column(sa.Column("checkpoint", sa.String(length=64), nullable=True))

    with op.batch_alter_table("variant", schema=None) as batch_op:
        batch_op.add_column(sa.Column("recipe", sa.JSON(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("variant", schema=None) as batch_op:
        batch_op.drop_column("recipe")

    with op.batch_alter_table("attempt", schema=None) as batch_op:
        batch_op.drop_column("checkpoint")

    op.drop_table("trial_score")
    with op.batch_alter_table("solution", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_solution_job_id"))

    op.drop_table("solution")
    op.drop_table("scoring")
    with op.batch_alter_table("upload", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_upload_sha256"))

    op.drop_table("upload")
