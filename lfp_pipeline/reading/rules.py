"""Row rules: which rows are accepted, which are skipped, and which row of each sku wins."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import permutations
from typing import Any

import duckdb

from lfp_pipeline.common.duckdb_tools import create_from_arrays
from lfp_pipeline.errors import AnotherHeaderError
from lfp_pipeline.model.table_spec import PRODUCT_COLUMNS, PRODUCT_SPEC, REQUIRED_COLUMNS
from lfp_pipeline.reading.columns import WANTED, known_names
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.reject_limit import CommonestReason, RejectLimit
from lfp_pipeline.reading.white_space import BLANK, TRIMMED, UNSEEN


def _any(condition: str, columns: Iterable[str] = PRODUCT_COLUMNS) -> str:
    """Return the SQL that a condition on `{0}` holds for any of the columns."""
    return " OR ".join(condition.format(column) for column in columns)


# The patterns are slow; they run only on values that do not begin and end with printable ASCII.
_PADDED = """
CASE
    WHEN sku NOT BETWEEN '!' AND '~' OR sku[-1] NOT BETWEEN '!' AND '~'
        OR name NOT BETWEEN '!' AND '~' OR name[-1] NOT BETWEEN '!' AND '~'
    THEN regexp_matches(sku, $padded) OR regexp_matches(name, $padded)
    ELSE false
END
"""

# Spreadsheet programs write ="007" to keep the zeros.
_IS_FORMULA = "({0} >= '=\"' AND {0} < '=#')"

_IGNORED_IN_NAMES = f'{TRIMMED}|"'
_BARE_NAME = "lower(regexp_replace({}, $ignored, '', 'g'))"

_IS_NAME = f"contains(${{names}}, chr(10) || {_BARE_NAME.format('{column}')} || chr(10))"

_NAMES_COLUMNS = " AND ".join(
    _IS_NAME.format(column=column, names="all_names") for column in REQUIRED_COLUMNS
)

# The sku is the name of one column, and the name is the name of another.
_NAMES_TWO_COLUMNS = " OR ".join(
    f"{_IS_NAME.format(column='sku', names=f'{first}_names')}"
    f" AND {_IS_NAME.format(column='name', names=f'{second}_names')}"
    for first, second in permutations(WANTED, 2)
)

_IS_HEADER = " AND ".join(
    _IS_NAME.format(column=column, names=f"{column}_names") for column in WANTED
)

# The length in bytes is cheaper than that in characters, and never smaller.
IRREGULAR = f"""(
    {_PADDED}
    OR {_any(_IS_FORMULA)}
    OR {_any("{0} = ''", REQUIRED_COLUMNS)}
    OR {_any("contains({0}, chr(0))")}
    OR {_any("strlen({0}) > $max_{0}")}
    OR CASE
        WHEN contains($first_letters, left(sku, 1)) AND contains($last_letters, right(sku, 1))
            AND contains($first_letters, left(name, 1)) AND contains($last_letters, right(name, 1))
        THEN {_NAMES_COLUMNS}
        ELSE false
    END
)"""
"""Whether a row may need trimming, skipping or rejecting. Bind `irregular_parameters`.

This uses no `IN` and no `list_contains`, because DuckDB turns them into a join, which does not keep
the order of the rows.
"""

_UNWRAP = """
CASE
    WHEN regexp_full_match({0}, $formula)
    THEN replace(regexp_replace({0}, $formula, '\\1'), '""', '"')
    ELSE {0}
END
"""
_FORMULA = '="((?:[^"]|"")*)"'
_TRIM = "regexp_replace({}, $around, '', 'g')"
_WITHOUT_NULLS = """
CASE
    WHEN contains($null_tokens, chr(10) || {0} || chr(10)) AND NOT contains({0}, chr(10)) THEN ''
    ELSE {0}
END
"""


def _cleaned(column: str) -> str:
    trimmed = _TRIM.format(column)
    return _WITHOUT_NULLS.format(_TRIM.format(_UNWRAP.format(trimmed)))


_CLEAN_KEYS = f"""
UPDATE rows SET sku = {_cleaned("sku")}, name = {_cleaned("name")} WHERE irregular
"""

_CLEAN_DESCRIPTIONS = f"""
UPDATE rows SET description = {_UNWRAP.format("description")}
WHERE irregular AND {_IS_FORMULA.format("description")}
"""

_ANOTHER_HEADER = f"""
SELECT min(rowid) + 1 FROM rows WHERE irregular AND ({_NAMES_TWO_COLUMNS}) AND NOT ({_IS_HEADER})
"""

_SKIP_HEADERS = f"INSERT INTO excluded SELECT rowid + 1 FROM rows WHERE irregular AND {_IS_HEADER}"

_IS_MISSING = """
        WHEN {0} = '' THEN ['no {0}', '']
        WHEN regexp_full_match({0}, $unseen) THEN ['no {0}', 'no visible character']"""

_IS_TOO_LONG = """
        WHEN length({0}) > $max_{0}
            THEN ['{0} too long', length({0}) || ' characters, at most ' || $max_{0}]"""

_BROKEN_RULES = f"""
SELECT rowid + 1 AS row_number, reason, detail
FROM (
    SELECT rowid, CASE {"".join(map(_IS_MISSING.format, REQUIRED_COLUMNS))}
        WHEN $bare_quotes AND ({_any("regexp_full_match({0}, $open_formula)")})
            THEN ['stray quote', 'a formula without a closing quote']
        WHEN {_any("contains({0}, chr(0))")}
            THEN ['NUL byte', 'a value holds a zero byte']
        {"".join(map(_IS_TOO_LONG.format, PRODUCT_COLUMNS))}
    END AS broken, broken[1] AS reason, broken[2] AS detail
    FROM rows ANTI JOIN excluded ON rows.rowid + 1 = excluded.row_number
    WHERE irregular
)
WHERE reason IS NOT NULL
ORDER BY row_number
LIMIT $remaining + 1
"""

_ACCEPTED = """
(
    SELECT rowid + 1 AS row_number, sku, (hash(sku) >> 32)::UINTEGER AS sku_hash
    FROM rows ANTI JOIN excluded ON rows.rowid + 1 = excluded.row_number
)
"""

_HASHES = f"SELECT sku_hash FROM {_ACCEPTED}"

_SUPERSEDED = f"""
INSERT INTO excluded
SELECT row_number
FROM {_ACCEPTED} AS accepted SEMI JOIN repeated USING (sku_hash)
QUALIFY row_number() OVER (PARTITION BY sku ORDER BY row_number DESC) > 1
"""


def irregular_parameters(options: ReadOptions) -> dict[str, Any]:
    """Return the parameters of `IRREGULAR`."""
    names = _names(options)["all_names"]
    first, last = ({name[place] for name in names.split()} for place in (0, -1))
    return _lengths(options) | {
        "padded": f"^{TRIMMED}|{TRIMMED}$|^{UNSEEN}*$",
        "first_letters": _either_case(first),
        "last_letters": _either_case(last),
        "all_names": names,
        "ignored": _IGNORED_IN_NAMES,
    }


def null_token_lines(options: ReadOptions) -> str:
    """Return the null tokens, as lines of a text."""
    return _lines(options.null_tokens)


def _names(options: ReadOptions) -> dict[str, str]:
    """Return the names of each column, and of all columns, as lines of texts."""
    known = known_names(options.column_aliases)
    return {f"{column}_names": _lines(known[column]) for column in WANTED} | {
        "all_names": _lines(set().union(*known.values()))
    }


def _lengths(options: ReadOptions) -> dict[str, int]:
    """Return the lengths of the longest accepted values."""
    return {
        f"max_{column.name}": getattr(options, column.length_setting) for column in PRODUCT_SPEC
    }


def without_null_tokens(column: str) -> str:
    """Return SQL for a column in which null tokens are replaced by an empty value.

    Bind `null_token_lines` as `null_tokens`.
    """
    return _WITHOUT_NULLS.format(column)


def blank_row(columns: Sequence[str]) -> str:
    """Return SQL for whether some columns of a row have only white space."""
    return f"regexp_full_match(concat({', '.join(columns)}), '{BLANK}*')"


def clean_values(connection: duckdb.DuckDBPyConnection, options: ReadOptions) -> None:
    """Trim sku and name, unwrap formulas such as ="007", and empty null tokens.

    Only irregular rows are updated, and they are few.
    """
    connection.execute(
        _CLEAN_KEYS,
        {
            "around": f"^{TRIMMED}+|{TRIMMED}+$",
            "formula": _FORMULA,
            "null_tokens": null_token_lines(options),
        },
    )
    connection.execute(_CLEAN_DESCRIPTIONS, {"formula": _FORMULA})


def skip_blank_rows(connection: duckdb.DuckDBPyConnection) -> int:
    """Exclude the rows with only white space; return their number."""
    statement = "INSERT INTO excluded SELECT rowid + 1 FROM rows WHERE blank"
    return _written(connection.execute(statement))


def skip_headers(connection: duckdb.DuckDBPyConnection, options: ReadOptions) -> int:
    """Exclude the rows that repeat the header; return their number.

    Raises:
        AnotherHeaderError: a row is another header. The rows after it would be read into the wrong
            columns.
    """
    bound = _names(options) | {"ignored": _IGNORED_IN_NAMES}
    del bound["all_names"]
    (number,) = connection.execute(_ANOTHER_HEADER, bound).fetchall()[0]
    if number is not None:
        raise AnotherHeaderError(place="Row", number=number)
    return _written(connection.execute(_SKIP_HEADERS, bound))


def broken_rules(
    connection: duckdb.DuckDBPyConnection,
    options: ReadOptions,
    limit: RejectLimit,
    rejected: int = 0,
    *,
    bare_quotes: bool = False,
) -> list[tuple[int, str, str]]:
    """Return row number, reason and detail of each row that breaks a rule, in order.

    If the quotes in the file's values are bare, not escaped, a value that begins like a formula may
    be the first piece of one; in other files, it is a text.

    Raises:
        DeliveryRefusedError: the file has more rejects than the limit, earlier ones included.
    """
    remaining = limit.remaining - rejected
    bound = _lengths(options) | {
        "remaining": remaining,
        "unseen": f"{UNSEEN}*",
        "open_formula": '="[^"]*',
        "bare_quotes": bare_quotes,
    }
    broken = connection.execute(_BROKEN_RULES, bound).fetchall()
    if len(broken) > remaining:
        ((reason, count),) = Counter(reason for _, reason, _ in broken).most_common(1)
        number, detail = next((number, more) for number, why, more in broken if why == reason)
        commonest = CommonestReason(reason, count, len(broken), f"row {number}", detail, b"")
        raise limit.refusal(commonest)
    return broken


def exclude_superseded(connection: duckdb.DuckDBPyConnection) -> int:
    """Exclude all accepted rows but the last of each sku; return their number.

    Repeated skus are few: they are found by hash, and only their rows are compared and sorted. To
    sort the hashes takes a third of the time of grouping by them.
    """
    import numpy as np  # noqa: PLC0415 (the import takes a tenth of a second)

    hashes = np.asarray(connection.execute(_HASHES).fetchnumpy()["sku_hash"])
    hashes.sort()  # In place: these are 4 bytes a row, beside the memory limit.
    repeated = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    if not repeated.size:
        return 0
    create_from_arrays(connection, "repeated", sku_hash=repeated)
    return _written(connection.execute(_SUPERSEDED))


def _either_case(letters: Iterable[str]) -> str:
    """Return letters in both cases, and the quote that may stand around a name."""
    return "".join(sorted({'"', *map(str.lower, letters), *map(str.upper, letters)}))


def _lines(values: Iterable[str]) -> str:
    """Return values as lines of a text, with a line end also before the first."""
    return "".join(f"\n{value}" for value in sorted(values)) + "\n"


def _written(done: duckdb.DuckDBPyConnection) -> int:
    """Return the number of rows that a statement has written."""
    counted = done.fetchone()
    return int(counted[0]) if counted else 0
