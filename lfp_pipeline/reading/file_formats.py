"""File formats that are not CSV, recognized by their first bytes: what a refusal names."""

import re
from dataclasses import dataclass

_ANALYZED_BYTES = 4_096
_CONTROL_BYTE = rb"(?=.{0,200}?[\0-\x08\x0e-\x1f])"
_UTF8_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class FileFormat:
    """A file format that is not CSV.

    Attributes:
        name: with its article, as in `The file is ...`.
        magic: matches the first bytes of such a file.
        remedy: a sentence that says how to get CSV instead.
    """

    name: str
    magic: re.Pattern[bytes]
    remedy: str

    @property
    def refusal(self) -> str:
        """Why a file of this format is refused, and what to do."""
        return self.refusal_of("The file")

    def refusal_of(self, what: str) -> str:
        """Return the refusal of a file that a sentence begins with: `b.csv in the zip`."""
        return f"{what} is {self.name}, not CSV. {self.remedy}"


def _format(name: str, magic: bytes, remedy: str) -> FileFormat:
    return FileFormat(name, re.compile(magic, re.DOTALL), remedy)


def _by_duckdb(function: str) -> str:
    return (
        "Convert it to CSV, for example with DuckDB: "
        f"COPY (FROM {function}('THE FILE')) TO 'products.csv'."
    )


_EXPORT = "Export the data as CSV from the program that made it."
_EXPORT_TABLE = "Export the table as CSV."

OFFICE = _format(
    "an Excel workbook (.xlsx, .xlsm), or another Office document",
    rb"PK\x03\x04.{26}(?:\[Content_Types\]\.xml|_rels/\.rels|docProps/(?:app|core)\.xml"
    rb"|xl/(?:workbook|styles|sharedStrings|worksheets/|_rels/|theme/))",
    "Save it as CSV UTF-8 in Excel.",
)

_ZIP_FORMATS = (
    OFFICE,
    _format(
        "an OpenDocument file, such as a spreadsheet (.ods)",
        rb"PK\x03\x04.{26}mimetype.{0,64}?application/vnd\.oasis\.opendocument\.",
        "Save it as CSV (UTF-8) in LibreOffice.",
    ),
)

# The text formats come last, and are so loose that a strange CSV file might match.
_FORMATS = (
    *_ZIP_FORMATS,
    _format(
        "an Excel workbook (.xls)",
        rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "Save it as CSV UTF-8 in Excel.",
    ),
    _format("a PDF document", rb"%PDF-", _EXPORT),
    _format("an RTF document", rb"\{\\rtf", _EXPORT),
    _format("a picture (PNG)", rb"\x89PNG\r?\n", _EXPORT),
    _format("a picture (JPEG)", rb"\xff\xd8\xff", _EXPORT),
    _format("a picture (GIF)", rb"GIF8[79]a", _EXPORT),
    _format("a Parquet file", _CONTROL_BYTE + rb"PAR[1E]", _by_duckdb("read_parquet")),
    _format("an ORC file", _CONTROL_BYTE + rb"ORC", _EXPORT),
    _format("an Avro file", rb"Obj\x01", _EXPORT),
    _format("a SQLite database", rb"SQLite format 3\0", _EXPORT_TABLE),
    _format("a DuckDB database", _CONTROL_BYTE + rb".{8}DUCK", _EXPORT_TABLE),
    _format("JSON", rb'\s*+(?:\{\s*+["}]|\[\s*+[\[{"\]])', _by_duckdb("read_json")),
    _format(
        "a web page (HTML)",
        rb"(?i)\s*+<(?:!doctype\s++html|!--|(?:html|head|body|table|script|meta|title|div|p)[\s/>])",
        "Save its table as CSV; of a download, check that the link leads to the file itself.",
    ),
    _format("XML", rb"(?i)\s*+<(?:[?!]|[a-z][\w.:-]*+[\s/>])", _EXPORT),
    _format(
        "an SQL dump",
        rb"(?i)[\s-]*+(?:(?:MySQL|MariaDB|PostgreSQL|phpMyAdmin)\b[^\n]*?\bdump\b"
        rb"|insert\s++into\s|(?:create|drop)\s++(?:table|database)\s)",
        _EXPORT_TABLE,
    ),
    _format(
        "binary data",
        _CONTROL_BYTE,
        "Deliver CSV, plain or compressed as .gz, .zst, .bz2, .xz or .zip.",
    ),
)


def format_of(head: bytes) -> FileFormat | None:
    """Return the format that a file which is not CSV has by its first bytes, if it is known.

    To be asked only where no header was found: the names of text formats may match a CSV file.
    """
    return _match(_FORMATS, head.removeprefix(_UTF8_MARK))


def zip_format_of(head: bytes) -> FileFormat | None:
    """Return the format of documents that are zips, if a file begins as one of them."""
    return _match(_ZIP_FORMATS, head)


def _match(formats: tuple[FileFormat, ...], head: bytes) -> FileFormat | None:
    begin = head[:_ANALYZED_BYTES]
    return next((found for found in formats if found.magic.match(begin)), None)
