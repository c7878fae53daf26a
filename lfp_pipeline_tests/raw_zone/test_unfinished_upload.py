"""Unfinished uploads are recognized when the version that completes them lands."""

import itertools
import os
from pathlib import Path

import pytest

from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.sources.local_file import LocalFile
from testing.engine import LOG

WHOLE = b'sku,name,description\ns1,Lamp,"one\ntwo ""three"" four"\ns2,Desk 27",Oak\ns3,Sofa,x\n'


def completes(folder: Path, versions: list[bytes]) -> list[bool]:
    zone, path, found = RawZone(folder / "raw"), folder / "a.csv", []
    for second, content in enumerate(versions):
        path.write_bytes(content)
        os.utime(path, (second, second))
        found.append(zone.land(LocalFile(path), "a.csv", LOG))
        assert zone.find(found[-1].delivery_id) == found[-1]
    assert [delivery.completes for delivery in found if delivery.completes] == [
        before.delivery_id for before, after in itertools.pairwise(found) if after.completes
    ]
    return [delivery.completes is not None for delivery in found]


@pytest.mark.parametrize("size", range(1, len(WHOLE)))
def test_a_version_that_ends_inside_a_record_is_completed_by_the_whole_file(
    tmp_path: Path, size: int
):
    text = WHOLE[:size]
    in_quotes = WHOLE.index(b'"one') < size <= WHOLE.index(b'four"') + 4
    at_line_end = WHOLE[size - 1 : size] == b"\n" or WHOLE[size : size + 1] == b"\n"
    assert completes(tmp_path, [text, WHOLE]) == [False, in_quotes or not at_line_end]


def test_each_part_of_an_upload_is_completed_by_the_next(tmp_path: Path):
    assert completes(tmp_path, [WHOLE[:30], WHOLE[:60], WHOLE]) == [False, True, True]


@pytest.mark.parametrize("newline", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_a_version_that_ends_with_a_line_is_not_unfinished(
    tmp_path: Path, newline: str, encoding: str
):
    lines = [line + newline for line in ("sku,name,description", 's1,TV 27",x', "s2,Lamp,y")]
    versions = ["".join(lines[:number]).encode(encoding) for number in (1, 2, 3)]
    assert completes(tmp_path, versions) == [False, False, False]


def test_other_bytes_complete_nothing(tmp_path: Path):
    other = b"S" + WHOLE[1:]
    assert completes(tmp_path, [WHOLE[:30], other, WHOLE[:40], b""]) == [False] * 4
