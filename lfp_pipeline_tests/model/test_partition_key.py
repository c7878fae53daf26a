"""Partition keys: each file has a key of its own, in safe characters."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lfp_pipeline.model.partition_key import (
    MAX_LENGTH,
    file_name,
    is_partition_key,
    key_hint,
    partition_key,
)

names = st.one_of(
    st.text(min_size=1, max_size=200),
    st.text(alphabet="ab./-_ #", min_size=1, max_size=12),
    st.text(alphabet="a.-", min_size=1, max_size=300),
    st.binary(min_size=1, max_size=30).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
)


@settings(deadline=None, max_examples=300)
@given(names)
@example("...")
@example("---")
@example("../../etc/passwd")
@example("\udcff")
@example("\ud800")
@example("a\n")
def test_every_name_has_a_safe_key(name: str) -> None:
    key = partition_key(name)
    assert re.fullmatch(r"[A-Za-z0-9._-]+", key)
    assert len(key) <= MAX_LENGTH
    assert ".." not in key
    assert not key.startswith((".", "-"))
    assert is_partition_key(key)


@settings(deadline=None, max_examples=300)
@given(st.lists(names, unique=True, min_size=2, max_size=20))
def test_different_names_have_different_keys(several: list[str]) -> None:
    assert len({partition_key(name) for name in several}) == len(several)


@settings(deadline=None, max_examples=200)
@given(names)
def test_the_key_of_one_file_is_not_the_plain_name_of_another(name: str) -> None:
    key = partition_key(name)
    assert key == name or partition_key(key) != key


@pytest.mark.parametrize("name", ["products.csv", "products-2026.csv.gz", "_x", "A.b-c_1.zip"])
def test_a_plain_file_name_is_its_own_key(name: str) -> None:
    assert partition_key(name) == name


@pytest.mark.parametrize("key", ["", ".", "..", "a/b", "a b", "a..b", "-a", ".a", "a\n", "x" * 121])
def test_a_text_that_is_no_key_gets_a_hint(key: str) -> None:
    assert not is_partition_key(key)
    assert (partition_key(key) in key_hint(key)) == bool(key)


@settings(deadline=None, max_examples=200)
@given(names)
def test_key_and_source_show_the_name_of_a_file(name: str) -> None:
    source = f"/data/inbox/{name}"
    assert file_name(partition_key(name), source) == name


@pytest.mark.parametrize(
    ("name", "source", "shown"),
    [
        ("named", "https://host/data/x y.csv", "named"),
        ("x y.csv", "https://host/data/x y.csv", "x y.csv"),
        ("my source", "https://host/data/z.csv", partition_key("my source")),
        ("b\udce9.csv", "/inbox/b\\xe9.csv", "b\\xe9.csv"),
    ],
)
def test_a_name_that_the_source_does_not_show_is_the_key(
    name: str, source: str, shown: str
) -> None:
    assert file_name(partition_key(name), source) == shown
