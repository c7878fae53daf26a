"""Compares a text with an earlier one, record by record, before any of it is read."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lfp_pipeline.reading.dialect import Dialect
from lfp_pipeline.reading.loading import dialect_of, is_plain
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.plain_text import PlainText
from lfp_pipeline.reading.records import mapped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lfp_pipeline.reading.record_index import RecordIndex

    Array = NDArray[Any]


@dataclass(frozen=True)
class Comparison:
    """A text beside an earlier one.

    Attributes:
        text, earlier: the two texts, and where their records are.
        partner: for each record of the text, the number of a record of the earlier text with the
            same bytes, from 0; or -1. None is there twice.
    """

    text: "IndexedText"
    earlier: "IndexedText"
    partner: "Array"


@dataclass(frozen=True)
class IndexedText:
    """A text with its records."""

    text: PlainText
    dialect: Dialect
    index: "RecordIndex"

    def write_records(self, records: "Array", path: Path) -> PlainText:
        """Write the header and some records, in ascending order, into a new file."""
        import numpy as np  # noqa: PLC0415

        starts = self.index.starts
        breaks = np.flatnonzero(np.diff(records) != 1)
        firsts = records[np.concatenate([[0], breaks + 1])] if len(records) else records
        lasts = records[np.concatenate([breaks, [-1]])] if len(records) else records
        stretches = map(slice, starts[firsts].tolist(), starts[lasts + 1].tolist())
        with (
            mapped(self.text.path) as text,
            memoryview(text) as view,  # Its slices are no copies.
            path.open("xb") as out,
        ):
            out.write(view[: self.dialect.body_start])
            out.writelines(map(view.__getitem__, stretches))
        return replace(self.text, path=path)


def compare(earlier: PlainText, text: PlainText, options: ReadOptions) -> Comparison | None:
    """Compare a text with an earlier one, if both can be read unchanged, and in the same way.

    Raises:
        DeliveryRefusedError: a text has no usable header.
    """
    # These import numpy, which takes a tenth of a second.
    from lfp_pipeline.reading.record_index import index_records  # noqa: PLC0415
    from lfp_pipeline.reading.record_matching import match_records  # noqa: PLC0415

    texts = (earlier, text)
    if not all(each.is_readable and not each.notes for each in texts):
        return None
    dialects = [dialect_of(each, options) for each in texts]
    if not all(map(is_plain, dialects)) or _meaning(dialects[0]) != _meaning(dialects[1]):
        return None
    with ThreadPoolExecutor(len(texts)) as pool:
        old, new = pool.map(
            lambda each, dialect: index_records(
                each.path, dialect.body_start, dialect.form.newline
            ),
            texts,
            dialects,
        )
    if old is None or new is None:
        return None
    return Comparison(
        IndexedText(text, dialects[1], new),
        IndexedText(earlier, dialects[0], old),
        match_records(old, new),
    )


def _meaning(dialect: Dialect) -> tuple[object, ...]:
    """Return what decides the values of a record, beside its bytes."""
    form = dialect.form
    return dialect.delimiter, dialect.columns, form.width, form.last_empty, dialect.lines_above
