"""Open a store, and tell what SQLite has to say about it in words."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evenflow.errors import StoreError
from evenflow.lab.store.schema import APPLICATION, TABLES, VERSION

PATIENCE = 20.0


def connect(path: Path, *, create: bool) -> sqlite3.Connection:
    """Open a store in WAL mode, for one process that writes and any that read.

    Args:
        path: The file.
        create: Whether to make it when it is not there.

    Raises:
        StoreError: It is not there, is no store, of another version, corrupt, locked, or cannot be written.
    """
    if not create and not path.is_file():
        raise StoreError(f"there is no store {path}; evenflow lab run --store {path} makes one")
    if not path.parent.is_dir():
        raise StoreError(f"--store {path}: there is no folder {path.parent}; create it, or name another file")
    with told(path):
        connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    # One transaction: another process may be making the store between two questions.
    connection.execute("BEGIN")
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    connection.execute("COMMIT")
    if tables and application != APPLICATION:
        raise StoreError(f"{path} is a database of another program; name another file with --store")
    if tables and version != VERSION:
        raise StoreError(f"{path} is a store of version {version}, this evenflow reads {VERSION}; name a new file")
    connection.execute("PRAGMA foreign_keys = ON")
    if not tables:
        _create(connection)


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    # Two processes may get here at once: the second waits, and finds the tables.
    connection.execute("BEGIN IMMEDIATE")
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables:
        for statement in TABLES.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into words about the store.

    Raises:
        StoreError: The body raised an error of SQLite.
    """
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "") or ""
        raise StoreError(_message(path, name, error)) from error


def _message(path: Path, name: str, error: sqlite3.Error) -> str:
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return (
            f"the store {path} has been locked by another program for {PATIENCE:g} s; end that one (a database browser "
            "with an open transaction?), then run again: what was measured is kept"
        )
    if name.startswith("SQLITE_FULL"):
        return f"the disk of the store {path} is full; make room, then run again: what was measured until now is kept"
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return (
            f"{path} is no store, or a corrupt one ({error}); name another file with --store, or save what can be "
            "read by "
            f"`sqlite3 {path} .recover | sqlite3 saved.db`"
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return f"the store {path} cannot be opened for writing ({error}); check its permissions and those of its folder"
    return f"the store {path}: {error} ({name or type(error).__name__})"
