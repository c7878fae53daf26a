"""The magic numbers of packed files, and of file formats that are not CSV."""

import re
from dataclasses import dataclass

_ANALYZED_BYTES = 4_096
PACKED_HEAD_BYTES = 265
"""Number of first bytes that show how a file is packed; a tar needs all of them."""

ZIP_MEMBER = b"PK\x03\x04"
ZIP_BEGINS = (ZIP_MEMBER, b"PK\x05\x06")
"""The first bytes of a zip: those of a member, or of the directory where there is no member."""

PACKED = {
    "zip": re.compile(rb"PK(?:\x03\x04|\x05\x06|\x07\x08)"),
    "gzip": re.compile(rb"\x1f\x8b\x08"),
    # The second alternative is a skippable frame.
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
    "bzip2": re.compile(rb"BZh[1-9](?:1A|\x17\x72)"),
    "xz": re.compile(rb"\xfd7zXZ\0"),
    "lz4": re.compile(rb"\x04\x22\x4d\x18"),
    "compress": re.compile(rb"\x1f\x9d"),
    "7z": re.compile(rb"7z\xbc\xaf\x27\x1c"),
    "RAR": re.compile(rb"Rar!\x1a\x07"),
    "tar": re.compile(rb"[\0-\xff]{257}ustar(?:\0|  \0)"),
}
"""Magic numbers of packed files, by kind; only some kinds are unpacked."""

_NAMED_PACKED = re.compile(
    r"\.(?:zip|zipx|gz|gzip|tgz|zst|tzst|bz2|tbz2?|xz|txz|lzma|lz4?|z|7z|rar|tar|cab|arj|jar"
    r"|xlsx|ods)$",
    re.IGNORECASE,
)

_CONTROL_BYTE = rb"(?=.{0,200}?[\0-\x08\x0e-\x1f])"
_UTF8_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class FileFormat:
    """A file format that is not CSV.

    Attributes:
        name: with its article, as in `The file is ...`.
        magic: pattern that matches the first bytes of such a file.
        remedy: sentence that says how to get CSV instead.
    """

    name: str
    magic: re.Pattern[bytes]
    remedy: str

    def refusal(self, subject: str = "The file") -> str:
        """Return the refusal of such a file, or of another subject such as `b.csv in the zip`."""
        return f"{subject} is {self.name}, not CSV. {self.remedy}"


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

# The text formats come last: their patterns are loose, and may match an unusual CSV file.
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


def packed_kind(head: bytes) -> str | None:
    """Return how a file is packed that begins with these bytes; None: it is not packed."""
    return next((kind for kind, magic in PACKED.items() if magic.match(head)), None)


def is_named_packed(name: str) -> bool:
    """Return whether a file's name is that of a packed file."""
    return _NAMED_PACKED.search(name) is not None


def format_of(head: bytes) -> FileFormat | None:
    """Return the known format of a file that is not CSV, by its first bytes.

    Call this only for a file without a header: the patterns of text formats may match CSV.
    """
    return _match(_FORMATS, head.removeprefix(_UTF8_MARK))


def zip_format_of(head: bytes) -> FileFormat | None:
    """Return the document format of a zip, by its first bytes; None: an ordinary zip."""
    return _match(_ZIP_FORMATS, head)


def _match(formats: tuple[FileFormat, ...], head: bytes) -> FileFormat | None:
    begin = head[:_ANALYZED_BYTES]
    return next((found for found in formats if found.magic.match(begin)), None)
