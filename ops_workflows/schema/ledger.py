"""The table in which a schema's version is recorded, as golang-migrate keeps it: one row, or none before the first."""

from dataclasses import dataclass

import psycopg
from psycopg import sql

from ops_workflows.errors import DatabaseError
from ops_workflows.postgres.connection import Connection
from ops_workflows.schema.plan import NOTHING, Position

TABLE = "schema_migrations"


@dataclass(frozen=True)
class Ledger:
    """The version table in one schema of the database."""

    schema: str

    def __str__(self) -> str:
        return f"{self.schema}.{TABLE}"

    @property
    def _name(self) -> sql.Identifier:
        return sql.Identifier(self.schema, TABLE)

    def position(self, connection: Connection) -> Position:
        """Where the schema stands; a table that does not exist yet says that nothing was applied.

        Raises:
            DatabaseError: The table holds more than the one row that it may.
        """
        query = sql.SQL("select version, dirty from {}").format(self._name)
        try:
            rows = connection.execute(query).fetchall()
        except psycopg.errors.UndefinedTable:
            return Position()
        if len(rows) > 1:
            raise DatabaseError(
                f"{self.schema}.{TABLE} holds {len(rows)} rows where one is allowed: "
                "find out which version is the true one and delete the others."
            )
        return Position(*rows[0]) if rows else Position()

    def create(self, connection: Connection) -> None:
        """Make the table, and the schema around it, if they are not there."""
        # Asked first: CREATE SCHEMA IF NOT EXISTS wants a privilege on the database even where it has nothing to do.
        if connection.execute("select to_regnamespace(quote_ident(%s))", (self.schema,)).fetchone() == (None,):
            connection.execute(sql.SQL("create schema {}").format(sql.Identifier(self.schema)))
        create = "create table if not exists {} (version bigint not null primary key, dirty boolean not null)"
        connection.execute(sql.SQL(create).format(self._name))

    def record(self, connection: Connection, position: Position) -> None:
        """Replace what is recorded; nothing applied and nothing broken is recorded as no row.

        Args:
            connection: Inside a transaction.
            position: Where the schema stands from then on.
        """
        is_row = position.version != NOTHING or position.dirty
        values = (position.version, position.dirty)
        update = sql.SQL("update {} set version = %s, dirty = %s").format(self._name)
        if is_row and connection.execute(update, values).rowcount == 1:
            return
        # golang-migrate truncates here. The table is the same afterwards, but TRUNCATE would wait for any reader, such
        # as a dump that runs for hours.
        connection.execute(sql.SQL("delete from {}").format(self._name))
        if is_row:
            connection.execute(sql.SQL("insert into {} (version, dirty) values (%s, %s)").format(self._name), values)
