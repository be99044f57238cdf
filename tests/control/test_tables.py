import re
import sqlite3
from pathlib import Path

from sqlalchemy import create_engine

from control.database import SqliteDatabase
from control.tables import metadata
from tests.support.real_loop import real_loop


def shape(database: Path) -> dict[str, str]:
    """Return every table and index of a database file as normalised SQL, by name."""
    with sqlite3.connect(database) as connection:
        rows = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'index') AND sql NOT NULL"
        ).fetchall()
    connection.close()
    # The order of columns and constraints within a table is not part of its meaning.
    return {name: " ".join(sorted(re.split(r"[\s,()]+", sql))) for name, sql in rows}


def test_the_migrations_make_exactly_the_tables_that_the_code_knows(tmp_path: Path) -> None:
    migrated, declared = tmp_path / "migrated.db", tmp_path / "declared.db"

    async def open_and_close() -> None:
        database = SqliteDatabase(migrated)
        await database.open()
        await database.close()

    real_loop(open_and_close())
    engine = create_engine(f"sqlite:///{declared}")
    metadata.create_all(engine)
    engine.dispose()
    found = shape(migrated)
    del found["alembic_version"]
    assert found == shape(declared)


def test_every_table_is_strict(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'declared.db'}")
    metadata.create_all(engine)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("PRAGMA table_list").mappings().all()
    engine.dispose()
    loose = [row["name"] for row in rows if not row["strict"] and row["name"][:7] != "sqlite_"]
    assert loose == []
