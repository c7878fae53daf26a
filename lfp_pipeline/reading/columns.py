"""Which column of a file is which: by the names in its header."""

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
    """Which column of a file is which.

    Attributes:
        positions: of the wanted columns.
        header: the names of all columns, as the file has them.
        names: of each wanted column, as they are compared.
    """

    positions: Mapping[str, int]
    header: tuple[str, ...]
    names: Mapping[str, frozenset[str]]

    def are_repeated_by(self, values: Sequence[str]) -> bool:
        """Whether the values of a record are the names of the columns, at their places."""
        return len(values) > max(self.positions.values()) and all(
            bare_name(values[position].replace('"', "")) in self.names[column]
            for column, position in self.positions.items()
        )

    def are_others_in(self, values: Sequence[str]) -> bool:
        """Whether a record is another header: sku and name are the names of two columns."""
        places = [self.positions[column] for column in REQUIRED_COLUMNS]
        if len(values) <= max(places) or self.are_repeated_by(values):
            return False
        cells = [bare_name(values[place].replace('"', "")) for place in places]
        found = [{column for column in WANTED if cell in self.names[column]} for cell in cells]
        return all(found) and found[0] != found[1]

    def like_header(self, delimiter: bytes) -> re.Pattern[bytes]:
        """Match the begin of a record whose sku may be the name of a column."""
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

    def named(self, column: str) -> str:
        """What the header of the file calls a wanted column."""
        return self.header[self.positions[column]]

    @property
    def named_width(self) -> int:
        """How many columns there are up to the last one that has a name."""
        return 1 + max(index for index, cell in enumerate(self.header) if bare_name(cell))

    def may_be_split_after(self, cells: int) -> bool:
        """Whether the header may have a delimiter too many, if no row has more than so many cells.

        It may if a column before its last name has none, or if rows lack a wanted column although
        the header names others, too.
        """
        nameless = not all(map(bare_name, self.header[: self.named_width]))
        lacks_wanted = cells <= max(self.positions.values())
        return nameless or (lacks_wanted and self.named_width > len(WANTED))

    @property
    def ignored(self) -> list[str]:
        """The names of the columns that are not taken in."""
        taken = set(self.positions.values())
        return [cell for index, cell in enumerate(self.header) if cell and index not in taken]


def matches(header: Sequence[str], aliases: Aliases) -> dict[str, list[int]]:
    """For each wanted column, the positions whose header is its name or an alias.

    Case, white space and byte order marks do not count.
    """
    cells = [bare_name(cell) for cell in header]
    known = known_names(aliases)
    return {
        column: [index for index, cell in enumerate(cells) if cell in known[column]]
        for column in WANTED
    }


def known_names(aliases: Aliases) -> dict[str, frozenset[str]]:
    """The names of each wanted column, as they are compared; as SQL has small letters, too."""
    names = {column: [column, *aliases.get(column, ())] for column in WANTED}
    return {
        column: frozenset(
            form for name in known for form in (bare_name(name), without_white_space(name).lower())
        )
        for column, known in names.items()
    }


def map_columns(header: Sequence[str], aliases: Aliases) -> ColumnMap:
    """Find the wanted columns in a header that names all of them.

    Raises:
        DeliveryRefusedError: one is there twice, or the same as another.
    """
    found = matches(header, aliases)
    shown = ", ".join(header)[:_SHOWN_HEADER_CHARACTERS]
    if repeated := [column for column in WANTED if len(found[column]) > 1]:
        msg = f"The header names the column {repeated[0]} more than once: {shown!r}."
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
    """A column's name as it is compared: in small letters, without white space or marks."""
    return without_white_space(cell).casefold()
