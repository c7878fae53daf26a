"""The id of a database in a file beside it, for those who do not open the database.

    products.duckdb.id    ID TIMES    the id, and how often the ledger was written

The database is the truth; this is a copy of its word. Whatever else stands in its place says
nothing, and is written anew by whoever opens the database next.
"""

import re
from pathlib import Path
from uuid import uuid4

_MOST_BYTES = 200
_CONTENT = re.compile(rb"([!-~]{1,64})(?: (\d{1,18}))?\s*")


def read_id(path: Path) -> tuple[str | None, int]:
    """Return the id and how often the ledger was written; None and 0 where that is not known."""
    try:
        if not path.is_file():  # To open a pipe may take for ever.
            return None, 0
        with path.open("rb") as file:
            found = _CONTENT.fullmatch(file.read(_MOST_BYTES))
    except OSError:
        return None, 0
    return (found[1].decode(), int(found[2] or 0)) if found else (None, 0)


def write_id(path: Path, database_id: str, times: int) -> None:
    """Write the file anew, if it says something else.

    Raises:
        OSError: it cannot be written.
    """
    if read_id(path) == (database_id, times):
        return
    temporary = path.with_suffix(".part")
    try:
        temporary.write_text(f"{database_id} {times}")
        if path.is_dir():
            forget_id(path)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def forget_id(path: Path) -> None:
    """Have the id be told anew by whoever opens the database next.

    A folder that somebody put there may have something in it: it gets another name.
    """
    if path.is_dir() and not path.is_symlink():
        path.rename(path.with_name(f"{path.name}.broken-{uuid4().hex[:8]}"))
    else:
        path.unlink(missing_ok=True)
