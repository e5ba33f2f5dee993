"""Single events in files that other programs read: CSV, and Parquet (extra ``parquet``)."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costguard_core.errors import ConfigurationError, MissingExtraError
from costguard_core.ledger.columns import COLUMNS, NAMES
from costguard_core.ledger.database import Row
from costguard_core.util.text import csv_cell

if TYPE_CHECKING:
    import pyarrow as pa

_ROW_GROUP = 50_000  # rows in memory at a time


def write_csv(rows: Iterable[Row], path: Path) -> int:
    """Write rows (columns in the order of ``NAMES``) with a header; returns how many.

    Nothing is a formula to a spreadsheet. Money is nano-dollars, times are unix seconds, what is unknown is empty.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(NAMES)
            written = 0
            for written, row in enumerate(rows, start=1):  # noqa: B007
                writer.writerow([csv_cell(value) if isinstance(value, str) else value for value in row])
    except OSError as error:
        raise ConfigurationError(f"cannot write {str(path)!r}: {error.strerror}") from None
    return written


def write_parquet(rows: Iterable[Row], path: Path) -> int:
    """Write rows (columns in the order of ``NAMES``) as Parquet; returns how many.

    Raises:
        ConfigurationError: the file cannot be written.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtraError("costguard ledger export --parquet", "parquet") from None
    schema = pa.schema([(column.name, _type(column.type, pa)) for column in COLUMNS])
    written = 0
    try:
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for group in _groups(iter(rows)):
                columns = [pa.array(values, field.type) for values, field in zip(zip(*group), schema)]  # noqa: B905
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))
                written += len(group)
    except OSError as error:
        raise ConfigurationError(f"cannot write {str(path)!r}: {error.strerror or error}") from None
    return written


def _groups(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while group := list(islice(rows, _ROW_GROUP)):
        yield [tuple(_plain(value, column.type) for value, column in zip(row, COLUMNS, strict=True)) for row in group]


def _plain(value: object, type: str) -> Any:
    return bool(value) if value is not None and type.startswith("BOOLEAN") else value


def _type(name: str, pa: Any) -> pa.DataType:
    match name.partition(" ")[0]:
        case "BIGINT":
            return pa.int64()
        case "DOUBLE":
            return pa.float64()
        case "BOOLEAN":
            return pa.bool_()
        case _:
            return pa.string()
