"""a network in several forms."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("variant", schema=None) as batch_op:
        # The default is for the rows that are there; the models give one to every new row.
        batch_op.add_column(sa.Column("forms", sa.JSON(), nullable=False, server_default="{}"))
    with op.batch_alter_table("variant", schema=None) as batch_op:
        batch_op.alter_column("forms", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("variant", schema=None) as batch_op:
        batch_op.drop_column("forms")
