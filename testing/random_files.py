"""Random files that overlap: strategies for Hypothesis, and files of a seed."""

from random import Random

from hypothesis import strategies as st

from testing.expected_tables import File

_skus = st.sampled_from(["s1", "s2", "s3", "S1", " s2 ", "ß", ""])
_names = st.sampled_from(["Ann", "Bob", "ann", "Ann ", "Zoë", ""])
_descriptions = st.sampled_from(["", "x", " x", 'a "b", c', "two\nlines"])
_good_rows = st.tuples(_skus, _names, _descriptions)
_rows = st.one_of(*[_good_rows] * 6, st.sampled_from([("s1",), ("s1", "Ann", "x", "more")]))

files = st.builds(
    File,
    key=st.sampled_from(["a.csv", "a", "a-b.csv", "b.csv"]),
    microseconds=st.sampled_from([-1, 0, 1_000_001, 1_000_002]),
    rows=st.lists(_rows, max_size=8).map(tuple),
)
"""Small files that overlap in skus, names, times and partitions."""

histories = st.lists(files, min_size=1, max_size=5).flatmap(
    lambda some: st.lists(st.sampled_from(some), min_size=len(some), max_size=len(some) + 2).map(
        lambda again: [*some, *again]
    )
)
"""Files in some order, some of them again."""


def random_files(random: Random, number: int, rows: int) -> list[File]:
    """Files that overlap in most of their skus."""

    def row() -> tuple[str, str, str]:
        sku = f"s{random.randrange(2 * rows)}" if random.random() < 0.98 else ""
        return sku, f"n{random.randrange(rows // 4 + 1)}", f"d{random.randrange(3)}"

    return [
        File(
            random.choice(["a.csv", "b.csv", "c.csv"]),
            random.randrange(5) * 1_000_000,
            tuple(row() for _ in range(rows)),
        )
        for _ in range(number)
    ]
