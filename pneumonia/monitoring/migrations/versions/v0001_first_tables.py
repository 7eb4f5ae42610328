"""Make the tables of events, feedback, drift verdicts and loops."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "drift_verdicts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("version", sa.String(length=80), nullable=False),
        sa.Column("model_digest", sa.String(length=64), nullable=False),
        sa.Column("alarm", sa.Boolean(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key"),
    )
    op.create_index("verdicts_of_a_model", "drift_verdicts", ["name", "id"], unique=False)
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("event_id", sa.String(length=32), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("version", sa.String(length=80), nullable=False),
        sa.Column("model_digest", sa.String(length=64), nullable=False),
        sa.Column("precision", sa.String(length=4), nullable=False),
        sa.Column("probability", sa.Double(), nullable=True),
        sa.Column("margin", sa.Double(), nullable=True),
        sa.Column("decision", sa.String(length=16), nullable=True),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("familiar", sa.Boolean(), nullable=False),
        sa.Column("percentile", sa.Double(), nullable=False),
        sa.Column("checks", sa.Text(), nullable=False),
        sa.Column("statistics", sa.LargeBinary(), nullable=True),
        sa.Column("embedding", sa.LargeBinary(), nullable=True),
        sa.Column("study", sa.String(length=32), nullable=True),
        sa.Column("patient", sa.String(length=32), nullable=True),
        sa.Column("image", sa.String(length=80), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("event_id"),
    )
    op.create_index("events_by_time", "events", ["at"], unique=False)
    op.create_index("events_of_a_model", "events", ["model_digest", "id"], unique=False)
    op.create_table(
        "feedback",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("event_id", sa.String(length=32), nullable=False),
        sa.Column("reader", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("label", sa.String(length=16), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("event_id", "reader", name="one_word_a_reader"),
    )
    op.create_index("feedback_by_time", "feedback", ["at"], unique=False)
    op.create_table(
        "loops",
        sa.Column("trace_id", sa.String(length=32), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("version", sa.String(length=80), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("verdict", sa.String(length=64), nullable=False),
        sa.Column("open_name", sa.String(length=100), nullable=True),
        sa.Column("holder", sa.String(length=200), nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=False),
        sa.Column("taken_over", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("new_version", sa.String(length=80), nullable=True),
        sa.Column("finished", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("trace_id"),
        sa.UniqueConstraint("open_name"),
    )
    op.create_index("loops_by_name", "loops", ["name", "at"], unique=False)


def downgrade() -> None:
    """Remove the tables."""
    for table in ("loops", "feedback", "drift_verdicts", "events"):
        op.drop_table(table)
