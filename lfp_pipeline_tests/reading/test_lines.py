"""The lines of a file, counted in chunks."""

from pathlib import Path

import pytest

from lfp_pipeline.reading import lines
from lfp_pipeline.reading.dialect import detect_dialect
from lfp_pipeline.reading.lines import Lines, lines_counted

HEADER = b"name,sku,description\n"


def counted(path: Path, body: bytes) -> Lines:
    path.write_bytes(HEADER + body)
    with lines_counted(path, detect_dialect(HEADER, 0, {})) as counting:
        return counting.result()


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 7, 1 << 20])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", Lines(0, side_by_side=False)),
        (b"a,b,c", Lines(1, side_by_side=False)),
        (b"a,b,c\n", Lines(1, side_by_side=False)),
        (b"a,b,c\n\n", Lines(2, side_by_side=False)),
        (b'a,"b\nb",c\n', Lines(2, side_by_side=False)),
        (b'a,"b" "b",c\n', Lines(1, side_by_side=True)),
        (b'a,"b"    "b",c\n', Lines(1, side_by_side=True)),
        (b'a,"b" ,"b"\n', Lines(1, side_by_side=False)),
        (b'a,"b"   \n   "c",d', Lines(2, side_by_side=False)),
        (b"a,b,   \n    ", Lines(2, side_by_side=False)),
    ],
)
def test_lines_and_quotes_side_by_side_are_found_however_the_file_is_cut(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    chunk_bytes: int,
    body: bytes,
    expected: Lines,
):
    monkeypatch.setattr(lines, "_CHUNK_BYTES", chunk_bytes)
    assert counted(tmp_path / "file.csv", body) == expected


def test_who_is_done_does_not_wait_for_the_end_of_the_file(tmp_path: Path):
    path = tmp_path / "file.csv"
    path.write_bytes(HEADER)
    with path.open("ab") as file:
        file.truncate(1 << 40)  # Without a block on the disk.
    with lines_counted(path, detect_dialect(HEADER, 0, {})) as counting:
        pass
    assert counting.result().count <= 1
