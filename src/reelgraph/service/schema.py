"""The tables that hold what people rated through the service. `migrations` make them; a test holds the two together."""

from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, String, Table

REVISION = "2"  # the newest of `migrations`
metadata = MetaData()

# What a user's ratings are now: one row for a user and movie.
RATINGS = Table(
    "ratings",
    metadata,
    Column("user_id", String, primary_key=True),
    Column("movie_id", String, primary_key=True),
    Column("rating", Double, nullable=False),
    Column("timestamp", BigInteger, nullable=False),  # seconds since 1970, UTC
)

# Every change in the order it was made; a rating of null is one taken back.
HISTORY = Table(
    "history",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),  # SQLite counts plain integers only
    Column("user_id", String, nullable=False),
    Column("movie_id", String, nullable=False),
    Column("rating", Double),
    Column("timestamp", BigInteger, nullable=False),
    Index("history_user", "user_id"),
)
