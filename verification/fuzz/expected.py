"""The expected contents of a file, by the CSV oracle and by Python's csv; or why it is refused."""

import csv
import io
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.model.delivery import TextFormat
from lfp_pipeline.reading.dialect import Dialect
from lfp_pipeline.reading.loading import dialect_of
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.plain_text import header_check, plain_texts
from lfp_pipeline.reading.unpacking import contents, is_packed
from testing.csv_oracle.cells import BLANKS
from testing.csv_oracle.contents import Contents, clean, expected_contents, unwrapped
from testing.csv_oracle.records import COLUMNS, AnotherHeaderError, Oracle, bare_name
from testing.reader import delivery_at
from verification.fuzz.cases import Case, File
from verification.fuzz.packings import MAX_UNPACKED_BYTES, WITH_OTHER_MEMBERS, half_of

LONGEST_VALUE = 10**7

_CSV_READS_IT_OTHERWISE = re.compile(rb' "|" ')

Refusal = str


class WrongError(Exception):
    """What was read is not what the oracle expects."""


def expected_of(file: File, path: Path, case: Case, options: ReadOptions) -> Contents | Refusal:
    """Return the contents of a delivered file, or why it must, or may, be refused."""
    if file.damage is None and file.start is not None:
        if file.packing.endswith("bomb"):
            return "larger than"
        return _contents(file.text, file.start, file.delimiter, file.header, case)
    try:
        _assert_unpacked_bytes(file, path, options)
        with tempfile.TemporaryDirectory() as folder:
            text, *others = plain_texts(delivery_at(path), Path(folder), options)
            if others:  # The damage has given another member a name that is no litter's.
                return "the header"
            dialect, data = dialect_of(text, options), text.path.read_bytes()
    except DeliveryRefusedError as error:
        return str(error)
    return _contents(data, dialect.body_start, dialect.delimiter, _known_names(dialect), case)


def _assert_unpacked_bytes(file: File, path: Path, options: ReadOptions) -> None:
    """Assert that a damaged packed file gives the bytes that were packed, or an error."""
    if file.damage is None or file.packing == "plain" or not is_packed(path):
        return
    found = contents(path, MAX_UNPACKED_BYTES, header_check(TextFormat(), options))
    several = [b"".join(content.pieces) for content in found]
    if len(several) > 1:  # The damage has given another member a name that is no litter's.
        return
    (out,), packed = several, file.encoded
    allowed = [packed]
    if " in two" in file.packing:  # The damage may hide one of two parts.
        allowed += [packed[: half_of(packed)], packed[half_of(packed) :]]
    if file.packing in WITH_OTHER_MEMBERS:  # Names have no checksum: another member may be read.
        allowed.append(b"x")
    if out not in allowed:
        msg = f"{len(out)} bytes come out of a damaged file that are not those that were packed"
        raise WrongError(msg)


def _known_names(dialect: Dialect) -> tuple[str, ...]:
    """Return the header with our names, and made-up names for columns that are not ours."""
    positions = {index: name for name, index in dialect.columns.positions.items()}
    names = enumerate(dialect.columns.header)
    return tuple(positions.get(index, name and f"other {index}") for index, name in names)


def _contents(
    data: bytes, start: int, delimiter: str, header: Sequence[str], case: Case
) -> Contents | Refusal:
    limit, require_all = case.record_bytes, case.require_all_cells
    tokens = case.null_tokens
    try:
        expected = expected_contents(
            data, start, delimiter, header, limit, require_all=require_all, null_tokens=tokens
        )
    except AnotherHeaderError:
        return "another order"
    if b'\\"' in data[start:]:
        oracle = Oracle(data, start, delimiter, header, limit, require_all=require_all)
        if oracle.habits.backslash:  # Python's csv removes every backslash, or none.
            return expected
    _assert_csv_agrees(data, start, delimiter, header, expected, tokens)
    return expected


def _assert_csv_agrees(
    data: bytes,
    start: int,
    delimiter: str,
    header: Sequence[str],
    expected: Contents,
    null_tokens: Sequence[str],
) -> None:
    """Assert that Python's csv reads the accepted rows from the bytes outside of rejects."""
    rest, position = [], start
    for _, first, end, _, _ in expected.rejects:
        rest.append(data[position:first])
        position = end
    good = b"".join([*rest, data[position:]])
    if _CSV_READS_IT_OTHERWISE.search(good):
        return
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_VALUE))
    rows = csv.reader(io.StringIO(good.decode(errors="replace"), newline=""), delimiter=delimiter)
    last = {}
    for row in rows:
        padded = row + [""] * (len(header) - len(row))
        values = {
            name: "" if (value := padded[header.index(name)]) in null_tokens else value
            for name in COLUMNS
        }
        sku, name = (clean(values[key], null_tokens) for key in ("sku", "name"))
        product = (sku, name, unwrapped(values["description"]))
        is_header = tuple(map(bare_name, product)) == COLUMNS
        if not is_header and not all(map(_is_blank, row)):
            last[sku] = product
    if sorted(last.values()) != sorted(expected.products):
        msg = "the oracle and Python's csv differ"
        raise WrongError(msg)


def _is_blank(value: str) -> bool:
    """Whether a value is blank; csv keeps quotes that follow white space in the value."""
    bare = value.strip("".join(BLANKS))
    is_quoted = len(bare) > 1 and bare[0] == bare[-1] == '"'
    return all(mark in BLANKS for mark in (bare[1:-1] if is_quoted else bare))
