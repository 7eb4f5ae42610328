"""Define the tables of the monitoring database; `migrations/versions` bring a database to them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

_NUMBER = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up an INTEGER PRIMARY KEY alone

EVENTS = Table(
    "events",
    metadata,
    Column("id", _NUMBER, primary_key=True, autoincrement=True),
    Column("event_id", String(32), nullable=False, unique=True),
    Column("at", Double, nullable=False),  # seconds since 1970, UTC
    Column("request_id", String(64), nullable=False),
    Column("position", Integer, nullable=False),
    Column("name", String(100), nullable=False),
    Column("version", String(80), nullable=False),
    Column("model_digest", String(64), nullable=False),
    Column("precision", String(4), nullable=False),
    Column("probability", Double),
    Column("margin", Double),
    Column("decision", String(16)),
    Column("threshold", Double, nullable=False),
    Column("code", String(32), nullable=False),
    Column("familiar", Boolean, nullable=False),
    Column("percentile", Double, nullable=False),
    Column("checks", Text, nullable=False),  # JSON
    Column("statistics", LargeBinary),  # float32
    Column("embedding", LargeBinary),  # float16
    Column("study", String(32)),
    Column("patient", String(32)),
    Column("image", String(80)),
    Index("events_of_a_model", "model_digest", "id"),
    Index("events_by_time", "at"),
)

FEEDBACK = Table(
    "feedback",
    metadata,
    Column("id", _NUMBER, primary_key=True, autoincrement=True),
    Column("event_id", String(32), nullable=False),
    Column("reader", String(64), nullable=False),
    Column("role", String(16), nullable=False),  # reader or adjudicator
    Column("verdict", String(16), nullable=False),  # agree, disagree or unsure
    Column("label", String(16)),
    Column("note", Text, nullable=False),
    Column("at", Double, nullable=False),
    UniqueConstraint("event_id", "reader", name="one_word_a_reader"),
    Index("feedback_by_time", "at"),
)

VERDICTS = Table(
    "drift_verdicts",
    metadata,
    Column("id", _NUMBER, primary_key=True, autoincrement=True),
    Column("key", String(64), nullable=False, unique=True),  # of model, window and settings
    Column("at", Double, nullable=False),
    Column("name", String(100), nullable=False),
    Column("version", String(80), nullable=False),
    Column("model_digest", String(64), nullable=False),
    Column("alarm", Boolean, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("score", Double, nullable=False),
    Column("document", Text, nullable=False),  # JSON
    Index("verdicts_of_a_model", "name", "id"),
)

LOOPS = Table(
    "loops",
    metadata,
    Column("trace_id", String(32), primary_key=True),
    Column("at", Double, nullable=False),
    Column("name", String(100), nullable=False),
    Column("version", String(80), nullable=False),  # that the alarm was about
    Column("kind", String(32), nullable=False),
    Column("action", String(16), nullable=False),  # retrain or recalibrate
    Column("verdict", String(64), nullable=False),  # key of the drift verdict
    Column("open_name", String(100), unique=True),  # the name while the loop is open, so that at most one is; then null
    Column("holder", String(200), nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("taken_over", Integer, nullable=False),
    Column("outcome", String(16)),  # promoted, refused or failed
    Column("words", Text, nullable=False),
    Column("new_version", String(80)),
    Column("finished", Double),
    Index("loops_by_name", "name", "at"),
)
