"""The matching of records against a comparison of all with all."""

from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lfp_pipeline.reading.record_index import RecordIndex, index_records
from lfp_pipeline.reading.record_matching import match_records

records = st.lists(
    st.builds("{},{},{}".format, *(st.text("ab1", max_size=n) for n in (3, 2, 12))), max_size=40
)


def index_of(path: Path, lines: list[str], newline: bytes = b"\n") -> RecordIndex:
    path.write_bytes(newline.join([b"h", *(line.encode() for line in lines), b""]))
    index = index_records(path, 1 + len(newline), newline)
    assert index is not None
    return index


def pairs(folder: Path, old: list[str], new: list[str], *, bits: int = 32) -> list[int]:
    """Match records, with samples of some bits, and check that the pairs are equal and distinct."""
    indexes = index_of(folder / "old.csv", old), index_of(folder / "new.csv", new, b"\r\n")
    for index in indexes:
        index.samples[:] &= np.uint32((1 << bits) - 1)
    found = match_records(*indexes).tolist()
    assert all(old[i] == new[j] for j, i in enumerate(found) if i >= 0)
    used = [i for i in found if i >= 0]
    assert len(used) == len(set(used))
    return found


@hypothesis_settings(deadline=None)
@given(records, records, st.sampled_from([0, 1, 8, 32]))
def test_pairs_are_equal_and_distinct(
    tmp_path_factory: pytest.TempPathFactory, old: list[str], new: list[str], bits: int
) -> None:
    pairs(tmp_path_factory.mktemp("match"), old, new, bits=bits)


def catalogue(number: int) -> list[str]:
    random = Random(5)
    return [f"Name {random.random()},sku-{n},{random.random()} text" for n in range(number)]


def test_nearly_all_records_of_a_changed_catalogue_are_found(tmp_path: Path) -> None:
    random, old = Random(6), catalogue(20_000)
    new = []
    for line in old:
        chance = random.random()
        if chance > 0.005:
            new.append(line if chance > 0.015 else line + " changed")
        if random.random() < 0.005:
            new.append(f"New {random.random()},n,")
    common = sum((Counter(old) & Counter(new)).values())
    found = pairs(tmp_path, old, new)
    assert sum(i >= 0 for i in found) > 0.99 * common


@pytest.mark.parametrize("order", ["sorted", "shuffled", "halves exchanged"])
def test_the_order_does_not_matter(tmp_path: Path, order: str) -> None:
    old = catalogue(5_000)
    new = sorted(old) if order == "sorted" else old[2_500:] + old[:2_500]
    if order == "shuffled":
        Random(7).shuffle(new)
    assert -1 not in pairs(tmp_path, old, new)


def test_with_samples_of_eight_bits_no_pair_differs(tmp_path: Path) -> None:
    old = catalogue(3_000)
    new = [line if n % 3 else line.replace("text", "TEXT") for n, line in enumerate(old)]
    found = pairs(tmp_path, old, new, bits=8)
    assert sum(i >= 0 for i in found) > 1_000


def test_without_records_there_are_no_pairs(tmp_path: Path) -> None:
    assert pairs(tmp_path, [], ["a,b,c"]) == [-1]
    assert pairs(tmp_path, ["a,b,c"], []) == []
