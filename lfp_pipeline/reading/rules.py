"""What a row must be to be accepted, and which of the rows of a file win."""

from dataclasses import dataclass

import duckdb

from lfp_pipeline.reading.columns import ColumnMap
from lfp_pipeline.reading.reject_limit import RejectLimit

WHITE_SPACE = r"[\s\x0b\x1c-\x1f\x85\p{Z}]+"
"""What is trimmed from sku and name: everything that Python's `str.strip` strips."""

_TRIM = """
UPDATE rows SET
    sku = regexp_replace(sku, $around, '', 'g'),
    name = regexp_replace(name, $around, '', 'g')
WHERE regexp_matches(sku, $around) OR regexp_matches(name, $around)
"""

_BROKEN_RULES = """
SELECT rowid + 1 AS row_number, reason, detail
FROM (
    SELECT rowid, CASE
        WHEN sku = '' THEN ['no sku', '']
        WHEN name = '' THEN ['no name', '']
        WHEN contains(sku, chr(0)) OR contains(name, chr(0)) OR contains(description, chr(0))
            THEN ['NUL byte', 'a value holds a zero byte']
        WHEN length(sku) > $max_sku
            THEN ['sku too long', length(sku) || ' characters, at most ' || $max_sku]
        WHEN length(name) > $max_name
            THEN ['name too long', length(name) || ' characters, at most ' || $max_name]
        WHEN length(description) > $max_description
            THEN ['description too long',
                  length(description) || ' characters, at most ' || $max_description]
        WHEN [sku, name, trim(description)] = $header THEN ['repeated header', '']
    END AS broken, broken[1] AS reason, broken[2] AS detail
    FROM rows ANTI JOIN excluded ON rows.rowid + 1 = excluded.row_number
    WHERE sku = '' OR name = ''
        OR contains(sku, chr(0)) OR contains(name, chr(0)) OR contains(description, chr(0))
        OR length(sku) > $max_sku OR length(name) > $max_name
        OR length(description) > $max_description
        OR (sku = $header[1] AND name = $header[2] AND trim(description) = $header[3])
)
ORDER BY row_number
LIMIT $most + 1
"""

_SUPERSEDED = """
INSERT INTO excluded
WITH accepted AS (
    SELECT rowid + 1 AS row_number, sku, hash(sku) AS sku_hash
    FROM rows ANTI JOIN excluded ON rows.rowid + 1 = excluded.row_number
),
repeated AS (
    SELECT sku_hash FROM accepted GROUP BY sku_hash HAVING count(*) > 1
)
SELECT row_number
FROM accepted SEMI JOIN repeated USING (sku_hash)
QUALIFY row_number() OVER (PARTITION BY sku ORDER BY row_number DESC) > 1
"""


@dataclass(frozen=True)
class RowRules:
    """The longest values that are accepted, in characters."""

    max_sku_length: int
    max_name_length: int
    max_description_length: int


def trim_keys(connection: duckdb.DuckDBPyConnection) -> None:
    """Take the white space from around sku and name. Few rows have any, so few are written."""
    around = f"^{WHITE_SPACE}|{WHITE_SPACE}$"
    connection.execute(_TRIM, {"around": around})


def broken_rules(
    connection: duckdb.DuckDBPyConnection,
    rules: RowRules,
    columns: ColumnMap,
    limit: RejectLimit,
    rejected: int = 0,
) -> list[tuple[int, str, str]]:
    """Row number, reason and detail of every row that breaks a rule and is not excluded, in order.

    A row that repeats the header is one.

    Raises:
        DeliveryRefusedError: with those that are rejected already, there are more than the limit.
    """
    most = limit.most - rejected
    parameters = {
        "max_sku": rules.max_sku_length,
        "max_name": rules.max_name_length,
        "max_description": rules.max_description_length,
        "header": [columns.named(column) for column in ("sku", "name", "description")],
        "most": most,
    }
    broken = connection.execute(_BROKEN_RULES, parameters).fetchall()
    if len(broken) > most:
        place = f"row {broken[0][0]}"
        raise limit.refusal(place, broken[0][1])
    return broken


def exclude_superseded(connection: duckdb.DuckDBPyConnection) -> int:
    """Of the accepted rows with the same sku, exclude all but the last; return how many.

    Repeats are few: they are found by hash, and only their rows are compared and sorted.
    """
    counted = connection.execute(_SUPERSEDED).fetchone()
    return int(counted[0]) if counted else 0
