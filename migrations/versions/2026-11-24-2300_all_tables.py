"""all tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "artifact",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_artifact")),
    )
    op.create_table(
        "conditions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("comparable_key", sa.String(length=64), nullable=False),
        sa.Column("key", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conditions")),
        sa.UniqueConstraint("comparable_key", name=op.f("uq_conditions_comparable_key")),
    )
    op.create_table(
        "project",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("public_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project")),
        sa.UniqueConstraint("name", name=op.f("uq_project_name")),
        sa.UniqueConstraint("public_id", name=op.f("uq_project_public_id")),
    )
    op.create_table(
        "artifact_ref",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_artifact_ref_project_id_project")),
        sa.ForeignKeyConstraint(["sha256"], ["artifact.sha256"], name=op.f("fk_artifact_ref_sha256_artifact")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifact_ref")),
        sa.UniqueConstraint("project_id", "sha256", "kind", name=op.f("uq_artifact_ref_project_id_sha256_kind")),
    )
    with op.batch_alter_table("artifact_ref", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_artifact_ref_sha256"), ["sha256"], unique=False)

    op.create_table(
        "device",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("public_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_device_project_id_project")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_device_project_id_name")),
        sa.UniqueConstraint("public_id", name=op.f("uq_device_public_id")),
    )
    op.create_table(
        "job",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("public_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("idempotency_key", sa.String(), nullable=True),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("request_hash", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("dataset", sa.String(), nullable=False),
        sa.Column("estimate", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("notes", sa.JSON(), nullable=False),
        sa.Column("reach", sa.JSON(), nullable=False),
        sa.Column("layers", sa.JSON(), nullable=False),
        sa.Column("evaluation_sha256", sa.String(length=64), nullable=True),
        sa.Column("evaluation_images", sa.BigInteger(), nullable=True),
        sa.Column("dataset_fingerprint", sa.String(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["evaluation_sha256"], ["artifact.sha256"], name=op.f("fk_job_evaluation_sha256_artifact")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_job_project_id_project")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        sa.UniqueConstraint("project_id", "idempotency_key", name=op.f("uq_job_project_id_idempotency_key")),
        sa.UniqueConstraint("public_id", name=op.f("uq_job_public_id")),
    )
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_index("ix_job_state", ["state"], unique=False)

    op.create_table(
        "candidate",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("plan_hash", sa.String(length=64), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("architecture", sa.String(length=64), nullable=False),
        sa.Column("method", sa.String(), nullable=False),
        sa.Column("family", sa.String(), nullable=False),
        sa.Column("criterion", sa.String(), nullable=False),
        sa.Column("alignment", sa.BigInteger(), nullable=False),
        sa.Column("scope", sa.String(), nullable=True),
        sa.Column("amount", sa.Double(), nullable=False),
        sa.Column("params", sa.BigInteger(), nullable=False),
        sa.Column("macs", sa.BigInteger(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("selected", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_candidate_job_id_job")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_candidate")),
    )
    with op.batch_alter_table("candidate", schema=None) as batch_op:
        batch_op.create_index("ix_candidate_job_id_plan_hash", ["job_id", "plan_hash"], unique=False)

    op.create_table(
        "job_device",
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name=op.f("fk_job_device_device_id_device")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_job_device_job_id_job")),
        sa.PrimaryKeyConstraint("job_id", "device_id", name=op.f("pk_job_device")),
    )
    op.create_table(
        "task",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("public_id", sa.String(), nullable=False),
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("inputs", sa.JSON(), nullable=False),
        sa.Column("requirements", sa.JSON(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempt_no", sa.BigInteger(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("progress", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name=op.f("fk_task_device_id_device")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_task_job_id_job")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task")),
        sa.UniqueConstraint("job_id", "kind", "key", name=op.f("uq_task_job_id_kind_key")),
        sa.UniqueConstraint("public_id", name=op.f("uq_task_public_id")),
    )
    with op.batch_alter_table("task", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_task_job_id"), ["job_id"], unique=False)
        batch_op.create_index(
            "ix_task_queued",
            ["priority", "id"],
            unique=False,
            sqlite_where=sa.text("state = 'queued'"),
            postgresql_where=sa.text("state = 'queued'"),
        )

    op.create_table(
        "worker",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("public_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("catalogue", sa.JSON(), nullable=False),
        sa.Column("incarnation", sa.String(), nullable=False),
        sa.Column("protocol_version", sa.BigInteger(), nullable=False),
        sa.Column("allow_null", sa.Boolean(), nullable=False),
        sa.Column("registered_at", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name=op.f("fk_worker_device_id_device")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_worker_project_id_project")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_worker_project_id_name")),
        sa.UniqueConstraint("public_id", name=op.f("uq_worker_public_id")),
    )
    op.create_table(
        "attempt",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("public_id", sa.String(), nullable=False),
        sa.Column("task_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("attempt_no", sa.BigInteger(), nullable=False),
        sa.Column("worker_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("incarnation", sa.String(), nullable=False),
        sa.Column("device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("lease_hash", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("heartbeat_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("result_hash", sa.String(length=64), nullable=True),
        sa.Column("seconds", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name=op.f("fk_attempt_device_id_device")),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_attempt_task_id_task")),
        sa.ForeignKeyConstraint(["worker_id"], ["worker.id"], name=op.f("fk_attempt_worker_id_worker")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempt")),
        sa.UniqueConstraint("public_id", name=op.f("uq_attempt_public_id")),
        sa.UniqueConstraint("task_id", "attempt_no", name=op.f("uq_attempt_task_id_attempt_no")),
    )
    with op.batch_alter_table("attempt", schema=None) as batch_op:
        batch_op.create_index("ix_attempt_expiry", ["state", "expires_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_attempt_worker_id"), ["worker_id"], unique=False)
        batch_op.create_index(
            "uq_attempt_live_device",
            ["device_id"],
            unique=True,
            sqlite_where=sa.text("state = 'leased'"),
            postgresql_where=sa.text("state = 'leased'"),
        )
        batch_op.create_index(
            "uq_attempt_live_task",
            ["task_id"],
            unique=True,
            sqlite_where=sa.text("state = 'leased'"),
            postgresql_where=sa.text("state = 'leased'"),
        )

    op.create_table(
        "event",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("task_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_event_job_id_job")),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_event_task_id_task")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
    )
    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.create_index("ix_event_job_id", ["job_id", "id"], unique=False)

    op.create_table(
        "token",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("public_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("secret_hash", sa.String(), nullable=False),
        sa.Column("worker_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name=op.f("fk_token_device_id_device")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_token_project_id_project")),
        sa.ForeignKeyConstraint(["worker_id"], ["worker.id"], name=op.f("fk_token_worker_id_worker")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token")),
        sa.UniqueConstraint("public_id", name=op.f("uq_token_public_id")),
        sa.UniqueConstraint("secret_hash", name=op.f("uq_token_secret_hash")),
    )
    op.create_table(
        "orphan_result",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("attempt_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("result_hash", sa.String(length=64), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_orphan_result_attempt_id_attempt")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_orphan_result")),
        sa.UniqueConstraint("attempt_id", "result_hash", name=op.f("uq_orphan_result_attempt_id_result_hash")),
    )
    op.create_table(
        "sweep_point",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("task_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("attempt_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("conditions_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("architecture", sa.String(length=64), nullable=False),
        sa.Column("p50_ns", sa.BigInteger(), nullable=False),
        sa.Column("base_p50_ns", sa.BigInteger(), nullable=False),
        sa.Column("ratio", sa.Double(), nullable=False),
        sa.Column("ratio_low", sa.Double(), nullable=False),
        sa.Column("ratio_high", sa.Double(), nullable=False),
        sa.Column("low_ratio", sa.Double(), nullable=False),
        sa.Column("flags", sa.JSON(), nullable=False),
        sa.Column("samples_sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_sweep_point_attempt_id_attempt")),
        sa.ForeignKeyConstraint(
            ["conditions_id"], ["conditions.id"], name=op.f("fk_sweep_point_conditions_id_conditions")
        ),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name=op.f("fk_sweep_point_device_id_device")),
        sa.ForeignKeyConstraint(
            ["samples_sha256"], ["artifact.sha256"], name=op.f("fk_sweep_point_samples_sha256_artifact")
        ),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_sweep_point_task_id_task")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sweep_point")),
        sa.UniqueConstraint("task_id", "architecture", name=op.f("uq_sweep_point_task_id_architecture")),
    )
    op.create_table(
        "variant",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("public_id", sa.String(), nullable=False),
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("attempt_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("plan_hash", sa.String(length=64), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=True),
        sa.Column("family", sa.String(), nullable=False),
        sa.Column("criteria", sa.JSON(), nullable=False),
        sa.Column("alignment", sa.BigInteger(), nullable=True),
        sa.Column("amount", sa.Double(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("training_seed", sa.BigInteger(), nullable=False),
        sa.Column("architecture", sa.String(length=64), nullable=False),
        sa.Column("params", sa.BigInteger(), nullable=False),
        sa.Column("macs", sa.BigInteger(), nullable=False),
        sa.Column("onnx_sha256", sa.String(length=64), nullable=False),
        sa.Column("weights_sha256", sa.String(length=64), nullable=False),
        sa.Column("plan_sha256", sa.String(length=64), nullable=False),
        sa.Column("preprocess_sha256", sa.String(length=64), nullable=False),
        sa.Column("reference_sha256", sa.String(length=64), nullable=False),
        sa.Column("preprocess", sa.JSON(), nullable=False),
        sa.Column("validation_correct", sa.BigInteger(), nullable=False),
        sa.Column("validation_n", sa.BigInteger(), nullable=False),
        sa.Column("test_correct", sa.BigInteger(), nullable=False),
        sa.Column("test_n", sa.BigInteger(), nullable=False),
        sa.Column("accuracies", sa.JSON(), nullable=False),
        sa.Column("curve", sa.JSON(), nullable=False),
        sa.Column("seconds", sa.JSON(), nullable=False),
        sa.Column("exporter", sa.String(), nullable=False),
        sa.Column("opset", sa.BigInteger(), nullable=False),
        sa.Column("export_difference", sa.Double(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_variant_attempt_id_attempt")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_variant_job_id_job")),
        sa.ForeignKeyConstraint(["onnx_sha256"], ["artifact.sha256"], name=op.f("fk_variant_onnx_sha256_artifact")),
        sa.ForeignKeyConstraint(["plan_sha256"], ["artifact.sha256"], name=op.f("fk_variant_plan_sha256_artifact")),
        sa.ForeignKeyConstraint(
            ["preprocess_sha256"], ["artifact.sha256"], name=op.f("fk_variant_preprocess_sha256_artifact")
        ),
        sa.ForeignKeyConstraint(
            ["reference_sha256"], ["artifact.sha256"], name=op.f("fk_variant_reference_sha256_artifact")
        ),
        sa.ForeignKeyConstraint(
            ["weights_sha256"], ["artifact.sha256"], name=op.f("fk_variant_weights_sha256_artifact")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_variant")),
        sa.UniqueConstraint("attempt_id", name=op.f("uq_variant_attempt_id")),
        sa.UniqueConstraint(
            "job_id", "plan_hash", "training_seed", name=op.f("uq_variant_job_id_plan_hash_training_seed")
        ),
        sa.UniqueConstraint("public_id", name=op.f("uq_variant_public_id")),
    )
    op.create_table(
        "measurement",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("public_id", sa.String(), nullable=False),
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("attempt_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("variant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("conditions_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("group_no", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("backend", sa.String(), nullable=False),
        sa.Column("emulated", sa.Boolean(), nullable=False),
        sa.Column("unproven", sa.Boolean(), nullable=False),
        sa.Column("ranked", sa.Boolean(), nullable=False),
        sa.Column("precision", sa.String(), nullable=False),
        sa.Column("batch_size", sa.BigInteger(), nullable=False),
        sa.Column("threads", sa.BigInteger(), nullable=False),
        sa.Column("processes", sa.BigInteger(), nullable=False),
        sa.Column("n_samples", sa.BigInteger(), nullable=False),
        sa.Column("p50_ns", sa.BigInteger(), nullable=False),
        sa.Column("p90_ns", sa.BigInteger(), nullable=True),
        sa.Column("p99_ns", sa.BigInteger(), nullable=True),
        sa.Column("ratio", sa.Double(), nullable=True),
        sa.Column("ratio_low", sa.Double(), nullable=True),
        sa.Column("ratio_high", sa.Double(), nullable=True),
        sa.Column("low_ratio", sa.Double(), nullable=True),
        sa.Column("correct", sa.BigInteger(), nullable=False),
        sa.Column("n_images", sa.BigInteger(), nullable=False),
        sa.Column("outcomes", sa.LargeBinary(), nullable=False),
        sa.Column("output_difference", sa.Double(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("flags", sa.JSON(), nullable=False),
        sa.Column("observed", sa.JSON(), nullable=False),
        sa.Column("samples_sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "NOT ranked OR (backend <> 'null' AND NOT emulated AND NOT unproven)",
            name=op.f("ck_measurement_ranked_is_real"),
        ),
        sa.CheckConstraint("correct >= 0 AND correct <= n_images", name=op.f("ck_measurement_accuracy_possible")),
        sa.CheckConstraint("p50_ns > 0", name=op.f("ck_measurement_latency_positive")),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_measurement_attempt_id_attempt")),
        sa.ForeignKeyConstraint(
            ["conditions_id"], ["conditions.id"], name=op.f("fk_measurement_conditions_id_conditions")
        ),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name=op.f("fk_measurement_device_id_device")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_measurement_job_id_job")),
        sa.ForeignKeyConstraint(
            ["samples_sha256"], ["artifact.sha256"], name=op.f("fk_measurement_samples_sha256_artifact")
        ),
        sa.ForeignKeyConstraint(["variant_id"], ["variant.id"], name=op.f("fk_measurement_variant_id_variant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_measurement")),
        sa.UniqueConstraint(
            "attempt_id",
            "variant_id",
            "group_no",
            "role",
            name=op.f("uq_measurement_attempt_id_variant_id_group_no_role"),
        ),
        sa.UniqueConstraint("public_id", name=op.f("uq_measurement_public_id")),
    )
    with op.batch_alter_table("measurement", schema=None) as batch_op:
        batch_op.create_index("ix_measurement_conditions_id_p50_ns_id", ["conditions_id", "p50_ns", "id"], unique=False)
        batch_op.create_index(batch_op.f("ix_measurement_job_id"), ["job_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("measurement", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_measurement_job_id"))
        batch_op.drop_index("ix_measurement_conditions_id_p50_ns_id")

    op.drop_table("measurement")
    op.drop_table("variant")
    op.drop_table("sweep_point")
    op.drop_table("orphan_result")
    op.drop_table("token")
    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.drop_index("ix_event_job_id")

    op.drop_table("event")
    with op.batch_alter_table("attempt", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_attempt_live_task",
            sqlite_where=sa.text("state = 'leased'"),
            postgresql_where=sa.text("state = 'leased'"),
        )
        batch_op.drop_index(
            "uq_attempt_live_device",
            sqlite_where=sa.text("state = 'leased'"),
            postgresql_where=sa.text("state = 'leased'"),
        )
        batch_op.drop_index(batch_op.f("ix_attempt_worker_id"))
        batch_op.drop_index("ix_attempt_expiry")

    op.drop_table("attempt")
    op.drop_table("worker")
    with op.batch_alter_table("task", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_task_queued", sqlite_where=sa.text("state = 'queued'"), postgresql_where=sa.text("state = 'queued'")
        )
        batch_op.drop_index(batch_op.f("ix_task_job_id"))

    op.drop_table("task")
    op.drop_table("job_device")
    with op.batch_alter_table("candidate", schema=None) as batch_op:
        batch_op.drop_index("ix_candidate_job_id_plan_hash")

    op.drop_table("candidate")
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.drop_index("ix_job_state")

    op.drop_table("job")
    op.drop_table("device")
    with op.batch_alter_table("artifact_ref", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_artifact_ref_sha256"))

    op.drop_table("artifact_ref")
    op.drop_table("project")
    op.drop_table("conditions")
    op.drop_table("artifact")
