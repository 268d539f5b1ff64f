"""Entry point of alembic, with the connection that `connection.migrate` passes."""

from alembic import context

from reelgraph.service.database.connection import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=context.config.attributes["version_table"],
)

context.run_migrations()
