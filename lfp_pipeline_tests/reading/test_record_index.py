"""The index of records against a plain loop over the bytes."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lfp_pipeline.reading import record_index
from lfp_pipeline.reading.record_index import index_records

HEADER = b"name,sku,description\n"

texts = st.lists(
    st.sampled_from([b"a", b"bc", b",", b'"', b'""', b"\n", b"\r\n", b"x" * 70, b"\xc3\xa9"]),
    max_size=60,
).map(b"".join)


def starts_by_loop(body: bytes, newline: bytes) -> list[int] | None:
    """Return the starts of the records, and the end of the last; None: there is an odd line."""
    starts, is_open = [0], False
    for offset, byte in enumerate(body):
        is_open ^= byte == ord('"')
        if byte == newline[-1] and not is_open:
            starts.append(offset + 1)
            if not body[: offset + 1].endswith(newline):
                return None
    if is_open or starts[-1] < len(body):
        return None
    lengths = [end - start for start, end in pairwise(starts)]
    return starts if all(length > len(newline) for length in lengths) else None


def index_of(tmp_path: Path, body: bytes, newline: bytes = b"\n"):
    path = tmp_path / "file.csv"
    path.write_bytes(HEADER + body)
    return index_records(path, len(HEADER), newline)


@hypothesis_settings(deadline=None)
@given(texts, st.sampled_from([b"\n", b"\r\n", b"\r"]), st.sampled_from([64, 128, 1 << 19]))
def test_records_begin_where_a_loop_finds_them(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, newline: bytes, chunk: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_index, "_CHUNK_BYTES", chunk)
        index = index_of(tmp_path_factory.mktemp("index"), body, newline)
    expected = starts_by_loop(body, newline)
    if expected is None:
        assert index is None
    else:
        assert index is not None
        assert (index.starts - len(HEADER)).tolist() == expected
        assert index.records == len(expected) - 1


def test_equal_records_have_equal_samples_wherever_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_index, "_CHUNK_BYTES", 128)
    record = b'Lamp,A-1,"a description of some\nlines"\n'
    others = [b"x" * length + b",k,\n" for length in range(5, 90)]
    index = index_of(tmp_path, b"".join(other + record for other in others))
    assert len(set(index.samples[1::2].tolist())) == 1
    assert len(set(index.samples[::2].tolist())) == len(others)


def test_a_record_may_be_longer_than_a_chunk_but_not_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_index, "_CHUNK_BYTES", 64)
    monkeypatch.setattr(record_index, "_LONGEST_BYTES", 1 << 12)
    assert index_of(tmp_path, b"a,b," + b"x" * 2_000 + b"\na,c,\n").records == 2
    assert index_of(tmp_path, b"a,b," + b"x" * 5_000 + b"\na,c,\n") is None


@pytest.mark.parametrize("body", [b"a,b,c", b"a,b,c\r\nd,e,f\n", b"a,b,c\nd,e,f\r\n"])
def test_a_file_with_another_line_end_or_none_is_not_indexed(tmp_path: Path, body: bytes) -> None:
    assert index_of(tmp_path, body, b"\r\n") is None
