"""Alembic's entry: run the revisions over the connection that ``migrate`` was given."""

from alembic import context
from sqlalchemy import Connection

from control.tables import metadata

connection = context.config.attributes["connection"]
assert isinstance(connection, Connection)
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a column by making the table anew
    transactional_ddl=True,  # the caller's transaction holds all revisions, or none
)
with context.begin_transaction():
    context.run_migrations()
