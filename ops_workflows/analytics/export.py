"""A month of the query log as a Parquet file in the bucket, for whoever wants to ask of raw rows after they are gone.

The rows go from COPY through Arrow's CSV reader and Parquet writer into a multipart upload, a few megabytes at a time:
no file on disk, and memory that does not grow with the month. The file is encrypted like backups are, if they are.
"""

import io
from collections.abc import Buffer, Iterator, Sequence
from contextlib import nullcontext
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from psycopg import sql

from ops_workflows.analytics.months import Partition
from ops_workflows.errors import IntegrityError, StorageError
from ops_workflows.postgres.connection import Connection
from ops_workflows.progress import Progress
from ops_workflows.repository.backup import StoredArchive, utc_now
from ops_workflows.repository.catalogue import Repository
from ops_workflows.repository.exports import Export, export_folder, store_export, sweep_exports
from ops_workflows.repository.layout import new_backup_id
from ops_workflows.storage.upload import Upload

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = files(__package__).joinpath("export.sql").read_text().encode()
_BLOCK = 4 * 1024 * 1024  # bytes of CSV that are read at once
_GROUP_ROWS = 100_000  # of a row group: what a reader that wants one column skips
_THREADS = 2
_NO_DAY = "not ({} between '0001-01-01' and '9999-12-31')"
_ODD = {
    "numeric": "{}::text in ('NaN', 'Infinity', '-Infinity')",
    "date": _NO_DAY,
    "timestamp": _NO_DAY,
    "timestamptz": _NO_DAY,
}
_MOST_DIGITS = 38  # of Arrow's 128-bit decimals
_COPY = "copy (select {} from {}) to stdout (format csv, header true)"
# As the reader of CSV wants it: the zone said in full, and nothing that depends on the session.
_TIME = """to_char({} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


def export(repository: Repository, connection: Connection, part: Partition, rows: int, progress: Progress) -> str:
    """Write a month's table into the bucket.

    Args:
        repository: Where to; what an earlier export that was killed has left there is removed.
        connection: That reads, and is the only one to export.
        part: The month; nobody writes to its table.
        rows: That it has.
        progress: Hears how far it is.

    Returns:
        The id of the export.

    Raises:
        IntegrityError: Another number of rows came than it has, or something that Parquet cannot hold: nothing is left
            in the bucket.
        StorageError: The bucket did not take it, or does not have it as it was sent.
    """
    database = connection.info.dbname
    for sentence in sweep_exports(repository, database):
        progress.say(sentence)
    export_id, name = new_backup_id(utc_now()), f"{part.name}.parquet{repository.keys.suffix}"
    key = f"{export_folder(repository, database)}{export_id}/{name}"
    # Arrow takes a while to import, and whoever only looks at the plan needs none of it.
    from pyarrow.lib import ArrowException  # noqa: PLC0415 - see above

    progress.begin(f"export {part.month}", rows, "rows")
    upload = Upload(repository.store, key, threads=_THREADS, expected_bytes=part.bytes)
    with upload, repository.keys.sealing(upload.write) or nullcontext() as sealing:
        try:
            written = _write(connection, part.name, _Sink(upload if sealing is None else sealing), progress)
        except ArrowException as error:
            said = " ".join(str(error).split())
            raise IntegrityError(
                f"{part.name} cannot be exported: {said}. Do without, or look at those rows."
            ) from None
        if written != rows:
            raise IntegrityError(f"{part.name} has {rows:,} rows, and {written:,} came: it is not exported.")
        if sealing is not None:
            sealing.finish()
        done = upload.finish()
    found = repository.store.head(key)
    if found is None or found.size != done.size:
        raise StorageError(f"{repository.store} acknowledged {key}, and does not have it as it was sent.")
    stored = StoredArchive(name=name, size=done.size, sha256=done.sha256, etag=done.etag, checksum=done.checksum)
    made = Export(
        id=export_id,
        system=repository.layout.system,
        database=database,
        table=part.name,
        rows=rows,
        start=part.month.start,
        end=part.month.end,
        finished_at=utc_now(),
        recipients=repository.keys.recipients,
        objects=(stored,),
    )
    store_export(repository, made)
    return export_id


def _write(connection: Connection, name: str, sink: "_Sink", progress: Progress) -> int:
    """Write the file; the number of rows in it."""
    # Arrow takes a while to import, and whoever only looks at the plan needs none of it.
    import pyarrow as pa  # noqa: PLC0415 - see above
    from pyarrow import csv, parquet  # noqa: PLC0415 - see above

    table = sql.Identifier("public", name)
    columns = connection.execute(_COLUMNS, {"table": table.as_string(connection)}).fetchall()
    odd = _odd(connection, table, [(column, kind) for column, kind, *_ in columns])
    types = {column: pa.string() if column in odd else _type(*of) for column, *of in columns}
    chosen = [
        sql.SQL("{} as {}").format(
            sql.SQL(_TIME).format(sql.Identifier(column))
            if kind == "timestamptz" and column not in odd
            else sql.Identifier(column),
            sql.Identifier(column),
        )
        for column, kind, *_ in columns
    ]
    written = 0
    with (
        connection.cursor() as cursor,
        cursor.copy(sql.SQL(_COPY).format(sql.SQL(", ").join(chosen), table)) as copy,
        csv.open_csv(
            pa.PythonFile(_Source(iter(copy)), mode="r"),
            read_options=csv.ReadOptions(block_size=_BLOCK),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=types,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                true_values=["t"],
                false_values=["f"],
            ),
        ) as batches,
        parquet.ParquetWriter(pa.PythonFile(sink, mode="w"), batches.schema, compression="zstd") as writer,
    ):
        group: list[pa.RecordBatch] = []
        for batch in batches:
            group.append(batch)
            if sum(each.num_rows for each in group) >= _GROUP_ROWS:
                writer.write_table(pa.Table.from_batches(group))
                group = []
            written += batch.num_rows
            progress.advance(written)
        if group:
            writer.write_table(pa.Table.from_batches(group))
    return written


def _odd(connection: Connection, table: sql.Identifier, columns: Sequence[tuple[str, str]]) -> set[str]:
    """Columns with values that Arrow has none for, such as infinity or a year before Christ: they go as text."""
    asked = [(column, _ODD[kind]) for column, kind in columns if kind in _ODD]
    if not asked:
        return set()
    each = [
        sql.SQL("coalesce(bool_or({}), false)").format(sql.SQL(odd).format(sql.Identifier(name))) for name, odd in asked
    ]
    found = connection.execute(sql.SQL("select {} from {}").format(sql.SQL(", ").join(each), table)).fetchone() or ()
    return {name for (name, _), is_odd in zip(asked, found, strict=True) if is_odd}


def _type(kind: str, precision: int | None, scale: int | None) -> "pa.DataType":
    """The type of Arrow for one of PostgreSQL's; what has no counterpart is text, as PostgreSQL writes it."""
    import pyarrow as pa  # noqa: PLC0415 - slow to import, as above

    if precision is not None and scale is not None and 0 <= scale <= precision <= _MOST_DIGITS:
        return pa.decimal128(precision, scale)
    known: dict[str, Any] = {
        "bool": pa.bool_(),
        "int2": pa.int16(),
        "int4": pa.int32(),
        "int8": pa.int64(),
        "float4": pa.float32(),
        "float8": pa.float64(),
        "date": pa.date32(),
        "timestamptz": pa.timestamp("us", "UTC"),
        "timestamp": pa.timestamp("us"),
    }
    return known.get(kind, pa.string())


class _Source(io.RawIOBase):
    """What COPY sends, as a file to be read."""

    def __init__(self, pieces: Iterator[Buffer]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """As many bytes as are wanted, or all there are; fewer at the end only."""
        found = bytearray()
        while size < 0 or len(found) < size:
            if not self._left:
                piece = next(self._pieces, None)
                if piece is None:
                    break
                self._left = memoryview(piece)
            wanted = len(self._left) if size < 0 else size - len(found)
            found += self._left[:wanted]
            self._left = self._left[wanted:]
        return bytes(found)


class _Sink(io.RawIOBase):
    """Where the file's bytes go, as a file to be written."""

    def __init__(self, to: Any) -> None:
        self._to = to
        self._at = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Bytes so far."""
        return self._at

    def write(self, data: Buffer) -> int:
        """All of them."""
        body = bytes(data)
        self._to.write(body)
        self._at += len(body)
        return len(body)
