"""What a row must be to be accepted, what is skipped, and which of the rows of a file win."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import duckdb

from lfp_pipeline.errors import AnotherHeaderError
from lfp_pipeline.reading.columns import WANTED, Aliases, known_names
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.reject_limit import CommonestReason, RejectLimit
from lfp_pipeline.reading.white_space import BLANK, TRIMMED, UNSEEN

# Few values begin or end with anything but printable ASCII, and only those cost a pattern.
_PADDED = """
CASE
    WHEN sku NOT BETWEEN '!' AND '~' OR sku[-1] NOT BETWEEN '!' AND '~'
        OR name NOT BETWEEN '!' AND '~' OR name[-1] NOT BETWEEN '!' AND '~'
    THEN regexp_matches(sku, $padded) OR regexp_matches(name, $padded)
    ELSE false
END
"""

# A spreadsheet keeps the zeros of ="007".
_IS_FORMULA = "({0} >= '=\"' AND {0} < '=#')"

_BARE_NAME = "lower(regexp_replace({}, $ignored, '', 'g'))"

_IS_NAME = f"contains(${{names}}, chr(10) || {_BARE_NAME.format('{column}')} || chr(10))"

_NAMES_COLUMNS = " AND ".join(
    _IS_NAME.format(column=one, names="all_names") for one in ("sku", "name")
)

# The sku is the name of one column, and the name that of another.
_NAMES_TWO_COLUMNS = " OR ".join(
    f"{_IS_NAME.format(column='sku', names=f'{one}_names')}"
    f" AND {_IS_NAME.format(column='name', names=f'{other}_names')}"
    for one, other in permutations(WANTED, 2)
)

_IS_HEADER = " AND ".join(_IS_NAME.format(column=one, names=f"{one}_names") for one in WANTED)

# In bytes, which are known at once, a value is at least as long as in characters.
IRREGULAR = f"""(
    {_PADDED}
    OR {_IS_FORMULA.format("sku")} OR {_IS_FORMULA.format("name")}
    OR {_IS_FORMULA.format("description")}
    OR sku = '' OR name = ''
    OR contains(sku, chr(0)) OR contains(name, chr(0)) OR contains(description, chr(0))
    OR strlen(sku) > $max_sku OR strlen(name) > $max_name OR strlen(description) > $max_description
    OR CASE
        WHEN contains($first_letters, left(sku, 1)) AND contains($last_letters, right(sku, 1))
            AND contains($first_letters, left(name, 1)) AND contains($last_letters, right(name, 1))
        THEN {_NAMES_COLUMNS}
        ELSE false
    END
)"""
"""Whether a row may be one to trim, to skip, or to reject. Bind `RowRules.parameters`.

No `IN` and no `list_contains`: DuckDB makes a join of them, which does not keep the rows' order.
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

_SKIP_BLANK = "INSERT INTO excluded SELECT rowid + 1 FROM rows WHERE blank"

_ANOTHER_HEADER = f"""
SELECT min(rowid) + 1 FROM rows WHERE irregular AND ({_NAMES_TWO_COLUMNS}) AND NOT ({_IS_HEADER})
"""

_SKIP_HEADERS = f"INSERT INTO excluded SELECT rowid + 1 FROM rows WHERE irregular AND {_IS_HEADER}"

_BROKEN_RULES = """
SELECT rowid + 1 AS row_number, reason, detail
FROM (
    SELECT rowid, CASE
        WHEN sku = '' THEN ['no sku', '']
        WHEN regexp_full_match(sku, $unseen) THEN ['no sku', 'no visible character']
        WHEN name = '' THEN ['no name', '']
        WHEN regexp_full_match(name, $unseen) THEN ['no name', 'no visible character']
        WHEN $bare_quotes AND (
            regexp_full_match(sku, $open_formula) OR regexp_full_match(name, $open_formula)
            OR regexp_full_match(description, $open_formula)
        )
            THEN ['stray quote', 'a formula without a closing quote']
        WHEN contains(sku, chr(0)) OR contains(name, chr(0)) OR contains(description, chr(0))
            THEN ['NUL byte', 'a value holds a zero byte']
        WHEN length(sku) > $max_sku
            THEN ['sku too long', length(sku) || ' characters, at most ' || $max_sku]
        WHEN length(name) > $max_name
            THEN ['name too long', length(name) || ' characters, at most ' || $max_name]
        WHEN length(description) > $max_description
            THEN ['description too long',
                  length(description) || ' characters, at most ' || $max_description]
    END AS broken, broken[1] AS reason, broken[2] AS detail
    FROM rows ANTI JOIN excluded ON rows.rowid + 1 = excluded.row_number
    WHERE irregular
)
WHERE reason IS NOT NULL
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
    """What a row must be to be accepted, and what is skipped.

    Attributes:
        max_sku_length: the longest sku that is accepted, in characters.
        max_name_length: the longest name.
        max_description_length: the longest description.
        null_tokens: what stands for an empty value.
        aliases: of the columns: a row that names all of them repeats the header.
    """

    max_sku_length: int
    max_name_length: int
    max_description_length: int
    null_tokens: Sequence[str]
    aliases: Aliases

    @property
    def null_token_lines(self) -> str:
        """The null tokens, as a text of lines."""
        return _lines(self.null_tokens)

    @property
    def parameters(self) -> dict[str, Any]:
        """What is bound to `IRREGULAR`."""
        names = self.names["all_names"]
        first, last = ({name[place] for name in names.split()} for place in (0, -1))
        return self.lengths | {
            "padded": f"^{TRIMMED}|{TRIMMED}$|^{UNSEEN}*$",
            "first_letters": _either_case(first),
            "last_letters": _either_case(last),
            "all_names": names,
            "ignored": f'{TRIMMED}|"',
        }

    @property
    def names(self) -> dict[str, str]:
        """The names of each column, and of all, as texts of lines."""
        known = known_names(self.aliases)
        return {f"{column}_names": _lines(known[column]) for column in WANTED} | {
            "all_names": _lines(set().union(*known.values()))
        }

    @property
    def lengths(self) -> dict[str, int]:
        """The longest values that are accepted."""
        return {
            "max_sku": self.max_sku_length,
            "max_name": self.max_name_length,
            "max_description": self.max_description_length,
        }


def without_null_tokens(column: str) -> str:
    """A column with an empty value in the place of what stands for one, in SQL.

    Bind `RowRules.null_token_lines` as `null_tokens`.
    """
    return _WITHOUT_NULLS.format(column)


def blank_row(columns: Sequence[str]) -> str:
    """Whether nothing but white space is in some columns of a row, in SQL."""
    return f"regexp_full_match(concat({', '.join(columns)}), '{BLANK}*')"


def rules_of(options: ReadOptions) -> RowRules:
    """The rules for the rows of files."""
    return RowRules(
        options.max_sku_length,
        options.max_name_length,
        options.max_description_length,
        options.null_tokens,
        options.column_aliases,
    )


def clean_values(connection: duckdb.DuckDBPyConnection, rules: RowRules) -> None:
    """Trim sku and name, unwrap ="007", empty what stands for nothing.

    Few rows need that, so few are written.
    """
    connection.execute(
        _CLEAN_KEYS,
        {
            "around": f"^{TRIMMED}+|{TRIMMED}+$",
            "formula": _FORMULA,
            "null_tokens": rules.null_token_lines,
        },
    )
    connection.execute(_CLEAN_DESCRIPTIONS, {"formula": _FORMULA})


def skip_blank_rows(connection: duckdb.DuckDBPyConnection) -> int:
    """Exclude the rows that hold nothing but white space; return how many."""
    return _written(connection.execute(_SKIP_BLANK))


def skip_headers(connection: duckdb.DuckDBPyConnection, rules: RowRules) -> int:
    """Exclude the rows that repeat the header; return how many.

    Raises:
        AnotherHeaderError: a row is another header: what follows it would be read into the wrong
            columns.
    """
    bound = rules.names | {"ignored": rules.parameters["ignored"]}
    del bound["all_names"]
    (number,) = connection.execute(_ANOTHER_HEADER, bound).fetchall()[0]
    if number is not None:
        raise AnotherHeaderError(place="Row", number=number)
    return _written(connection.execute(_SKIP_HEADERS, bound))


def broken_rules(
    connection: duckdb.DuckDBPyConnection,
    rules: RowRules,
    limit: RejectLimit,
    rejected: int = 0,
    *,
    bare_quotes: bool = False,
) -> list[tuple[int, str, str]]:
    """Row number, reason and detail of every row that breaks a rule and is not excluded, in order.

    Args:
        connection: to the workspace.
        rules: for the rows.
        limit: of the rejects.
        rejected: how many rows are rejects already.
        bare_quotes: whether the file's values hold quotes that nobody escapes. Then, a value
            that begins as a formula does may be the first piece of one; elsewhere, it is a text.

    Raises:
        DeliveryRefusedError: with those that are rejected already, there are more than the limit.
    """
    most = limit.left - rejected
    bound = rules.lengths | {
        "most": most,
        "unseen": f"{UNSEEN}*",
        "open_formula": '="[^"]*',
        "bare_quotes": bare_quotes,
    }
    broken = connection.execute(_BROKEN_RULES, bound).fetchall()
    if len(broken) > most:
        ((reason, count),) = Counter(reason for _, reason, _ in broken).most_common(1)
        number, detail = next((number, more) for number, why, more in broken if why == reason)
        commonest = CommonestReason(reason, count, len(broken), f"row {number}", detail, b"")
        raise limit.refusal(commonest)
    return broken


def exclude_superseded(connection: duckdb.DuckDBPyConnection) -> int:
    """Of the accepted rows with the same sku, exclude all but the last; return how many.

    Repeats are few: they are found by hash, and only their rows are compared and sorted.
    """
    return _written(connection.execute(_SUPERSEDED))


def _either_case(letters: Iterable[str]) -> str:
    """Letters and capitals, and the quote that may stand before and after a name."""
    return "".join(sorted({'"', *map(str.lower, letters), *map(str.upper, letters)}))


def _lines(values: Iterable[str]) -> str:
    """Values as a text of lines, with a line end before the first, too."""
    return "".join(f"\n{value}" for value in sorted(values)) + "\n"


def _written(done: duckdb.DuckDBPyConnection) -> int:
    counted = done.fetchone()
    return int(counted[0]) if counted else 0
