"""Which column of a file is which: by the names in its header."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

from lfp_pipeline.errors import DeliveryRefusedError

Column = Literal["name", "sku", "description"]
Aliases = Mapping[Column, Sequence[str]]

WANTED: tuple[Column, ...] = get_args(Column)

_SHOWN_HEADER_CHARACTERS = 200


@dataclass(frozen=True)
class ColumnMap:
    """The positions of the wanted columns in a file, and what else its header names."""

    positions: Mapping[str, int]
    header: tuple[str, ...]

    def named(self, column: str) -> str:
        """What the header of the file calls a wanted column."""
        return self.header[self.positions[column]]

    @property
    def ignored(self) -> list[str]:
        """The names of the columns that are not taken in."""
        taken = set(self.positions.values())
        return [cell for index, cell in enumerate(self.header) if index not in taken]


def matches(header: Sequence[str], aliases: Aliases) -> dict[str, list[int]]:
    """For each wanted column, the positions whose header is its name or an alias.

    Case and white space do not count.
    """
    cells = [_bare(cell) for cell in header]
    known = {
        column: {_bare(name) for name in (column, *aliases.get(column, ()))} for column in WANTED
    }
    return {
        column: [index for index, cell in enumerate(cells) if cell in known[column]]
        for column in WANTED
    }


def map_columns(header: Sequence[str], aliases: Aliases) -> ColumnMap:
    """Find the wanted columns in a header.

    Raises:
        DeliveryRefusedError: one is missing, or there twice, or the same as another.
    """
    found = matches(header, aliases)
    shown = ", ".join(header)[:_SHOWN_HEADER_CHARACTERS]
    if missing := [column for column in WANTED if not found[column]]:
        msg = (
            f"The header has no column {' and no column '.join(missing)}. It names: "
            f"{shown!r}. Name the columns name, sku and description, or tell other names in "
            "LFP_COLUMN_ALIASES."
        )
        raise DeliveryRefusedError(msg)
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
    return ColumnMap(positions, tuple(header))


def _bare(cell: str) -> str:
    return "".join(cell.casefold().split())
