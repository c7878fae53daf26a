"""What a row must be to be accepted, and which of the rows of a file win."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from lfp_pipeline.reading.dialect import Dialect
from lfp_pipeline.reading.reject_limit import RejectLimit
from lfp_pipeline.settings import Settings

WHITE_SPACE = r"[\s\x0b\x1c-\x1f\x85\p{Z}]+"
"""What is trimmed from sku and name: everything that Python's `str.strip` strips."""

PADDING = {"around": f"^{WHITE_SPACE}|{WHITE_SPACE}$"}
"""What is bound to the conditions that look for white space."""

# Few values begin or end with anything but printable ASCII, and only those cost a pattern.
_PADDED = """
CASE
    WHEN sku NOT BETWEEN '!' AND '~' OR sku[-1] NOT BETWEEN '!' AND '~'
        OR name NOT BETWEEN '!' AND '~' OR name[-1] NOT BETWEEN '!' AND '~'
    THEN regexp_matches(sku, $around) OR regexp_matches(name, $around)
    ELSE false
END
"""

_TRIM = f"""
UPDATE rows SET
    sku = regexp_replace(sku, $around, '', 'g'),
    name = regexp_replace(name, $around, '', 'g')
WHERE {_PADDED}
"""

_BREAKS_A_RULE = """(
    sku = '' OR name = ''
    OR contains(sku, chr(0)) OR contains(name, chr(0)) OR contains(description, chr(0))
    OR length(sku) > $max_sku OR length(name) > $max_name OR length(description) > $max_description
    OR (
        sku IN ($header[1], $marked[1]) AND name IN ($header[2], $marked[2])
        AND trim(description) IN ($header[3], $marked[3])
    )
)"""

# In bytes, which are known at once, a value is at least as long as in characters.
IRREGULAR = f"""(
    {_PADDED}
    OR sku = '' OR name = ''
    OR contains(sku, chr(0)) OR contains(name, chr(0)) OR contains(description, chr(0))
    OR strlen(sku) > $max_sku OR strlen(name) > $max_name OR strlen(description) > $max_description
    OR (sku IN ($header[1], $marked[1]) AND name IN ($header[2], $marked[2]))
)"""
"""Whether a row may be one to trim, or break a rule. Bind `PADDING` and `RowRules.parameters`."""

_BROKEN_RULES = f"""
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
        ELSE ['repeated header', '']
    END AS broken, broken[1] AS reason, broken[2] AS detail
    FROM rows ANTI JOIN excluded ON rows.rowid + 1 = excluded.row_number
    WHERE {_BREAKS_A_RULE}
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
    """What a row of one file must be to be accepted.

    Attributes:
        max_sku_length: the longest sku that is accepted, in characters.
        max_name_length: the longest name.
        max_description_length: the longest description.
        header: what the file calls sku, name and description: a row of just that is none.
    """

    max_sku_length: int
    max_name_length: int
    max_description_length: int
    header: Sequence[str]

    @property
    def parameters(self) -> dict[str, Any]:
        """What is bound to the conditions of this module."""
        return {
            "max_sku": self.max_sku_length,
            "max_name": self.max_name_length,
            "max_description": self.max_description_length,
            "header": self.header,
            # As in files that were put one after the other, each with its byte order mark.
            "marked": ["\ufeff" + name for name in self.header],
        }


def rules_of(dialect: Dialect, settings: Settings) -> RowRules:
    """The rules for the rows of a file."""
    return RowRules(
        settings.max_sku_length,
        settings.max_name_length,
        settings.max_description_length,
        [dialect.columns.named(column) for column in ("sku", "name", "description")],
    )


def trim_keys(connection: duckdb.DuckDBPyConnection) -> None:
    """Take the white space from around sku and name. Few rows have any, so few are written."""
    connection.execute(_TRIM, PADDING)


def broken_rules(
    connection: duckdb.DuckDBPyConnection, rules: RowRules, limit: RejectLimit, rejected: int = 0
) -> list[tuple[int, str, str]]:
    """Row number, reason and detail of every row that breaks a rule and is not excluded, in order.

    Raises:
        DeliveryRefusedError: with those that are rejected already, there are more than the limit.
    """
    most = limit.left - rejected
    broken = connection.execute(_BROKEN_RULES, rules.parameters | {"most": most}).fetchall()
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
