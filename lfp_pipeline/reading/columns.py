"""The columns of a file, mapped by the names in its header."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import get_args

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.model.table_spec import REQUIRED_COLUMNS, Column
from lfp_pipeline.reading.white_space import without_white_space

Aliases = Mapping[Column, Sequence[str]]

WANTED: tuple[Column, ...] = get_args(Column)

_SHOWN_HEADER_CHARACTERS = 200


@dataclass(frozen=True)
class ColumnMap:
    """The columns of a file.

    Attributes:
        positions: index of each wanted column.
        header: names of all columns, as the file writes them.
        names: known names of each wanted column, normalized for comparison.
    """

    positions: Mapping[str, int]
    header: tuple[str, ...]
    names: Mapping[str, frozenset[str]]

    def are_repeated_by(self, values: Sequence[str]) -> bool:
        """Return whether a record repeats the header: its values are the names of the columns."""
        return len(values) > max(self.positions.values()) and all(
            bare_name(values[position].replace('"', "")) in self.names[column]
            for column, position in self.positions.items()
        )

    def are_others_in(self, values: Sequence[str]) -> bool:
        """Return whether a record is another header: sku and name hold names of two columns."""
        positions = [self.positions[column] for column in REQUIRED_COLUMNS]
        if len(values) <= max(positions) or self.are_repeated_by(values):
            return False
        cells = [bare_name(values[position].replace('"', "")) for position in positions]
        found = [{column for column in WANTED if cell in self.names[column]} for cell in cells]
        return all(found) and found[0] != found[1]

    def like_header(self, delimiter: bytes) -> re.Pattern[bytes]:
        """Return a pattern for the beginning of a record whose sku may be the name of a column."""
        mark = re.escape(delimiter)
        bare = rb"[^\r\n" + mark + rb"]*+"
        cell = rb'(?:[ ]*+"(?:[^"]++|"")*+"' + bare + rb"|" + bare + rb")"
        between = rb"[^0-9A-Za-z\r\n" + mark + rb"]*?"
        names = set().union(*self.names.values())
        spellings = {spelling for name in names for spelling in (name, name.upper(), name.title())}
        spelled = rb"|".join(
            between.join(re.escape(letter.encode()) for letter in spelling)
            for spelling in sorted(spellings)
        )
        before = rb"(?:\xef\xbb\xbf)*+(?:" + cell + mark + rb"){%d}" % self.positions["sku"]
        return re.compile(before + between + rb"(?i:" + spelled + rb")")

    @property
    def named_width(self) -> int:
        """Number of columns up to the last one that has a name."""
        return 1 + max(index for index, cell in enumerate(self.header) if bare_name(cell))

    def may_be_split_after(self, cells: int) -> bool:
        """Return whether the header may have a surplus delimiter, if no row has more than `cells`.

        That is possible if a column before the last named one has no name, or if the rows lack a
        wanted column although the header also names others.
        """
        nameless = not all(map(bare_name, self.header[: self.named_width]))
        lacks_wanted = cells <= max(self.positions.values())
        return nameless or (lacks_wanted and self.named_width > len(WANTED))

    @property
    def ignored(self) -> list[str]:
        """Names of the columns that are not read."""
        read = set(self.positions.values())
        return [cell for index, cell in enumerate(self.header) if cell and index not in read]


def matches(header: Sequence[str], aliases: Aliases) -> dict[str, list[int]]:
    """Return, for each wanted column, the positions that the header gives its name or an alias.

    Case, white space and byte order marks are ignored.
    """
    cells = [bare_name(cell) for cell in header]
    known = known_names(aliases)
    return {
        column: [index for index, cell in enumerate(cells) if cell in known[column]]
        for column in WANTED
    }


def known_names(aliases: Aliases) -> dict[str, frozenset[str]]:
    """Return the names of each wanted column, normalized as Python and as SQL do it."""
    names = {column: [column, *aliases.get(column, ())] for column in WANTED}
    return {
        column: frozenset(
            form for name in known for form in (bare_name(name), without_white_space(name).lower())
        )
        for column, known in names.items()
    }


def map_columns(header: Sequence[str], aliases: Aliases) -> ColumnMap:
    """Map the wanted columns of a header that names all of them.

    Raises:
        DeliveryRefusedError: the header names a column twice, or one column has two meanings.
    """
    found = matches(header, aliases)
    shown = ", ".join(header)[:_SHOWN_HEADER_CHARACTERS]
    if repeated := [column for column in WANTED if len(found[column]) > 1]:
        msg = (
            f"The header names the column {repeated[0]} more than once: {shown!r}. "
            "Rename or remove all but one."
        )
        raise DeliveryRefusedError(msg)
    positions: dict[str, int] = {column: found[column][0] for column in WANTED}
    for column, other in combinations(WANTED, 2):
        if positions[column] == positions[other]:
            msg = (
                f"The column {header[positions[column]]!r} would be both {column} and {other}. "
                "Each needs a name of its own (setting LFP_COLUMN_ALIASES)."
            )
            raise DeliveryRefusedError(msg)
    return ColumnMap(positions, tuple(header), known_names(aliases))


def bare_name(cell: str) -> str:
    """Return a column's name normalized: in small letters, without white space or marks."""
    return without_white_space(cell).casefold()
