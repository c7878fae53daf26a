"""The expected tables after some files, and their comparison.

The rule: of all rows of a sku, in the order of delivery and then of the file, the last one wins;
then names are counted over the winners. pandas works that out here, in one go and in no clever way,
and the generator of the files must agree with it. Tables are compared by a digest that does not
depend on the order of their rows.
"""

import json
import multiprocessing
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pandas as pd

MOST_ROWS_WORKED_OUT = 5_000_000
"""With more rows, pandas needs too much memory: only the generator's counts are compared."""

_ANSWER = """
SELECT
    (SELECT count(*) FROM {products}),
    (SELECT count(DISTINCT sku) FROM {products}),
    (SELECT count(*) FROM {counts}),
    (SELECT sum(hash(sku, name, description))::VARCHAR FROM {products}),
    (SELECT sum(hash(name, no_of_products::BIGINT))::VARCHAR FROM {counts})
"""

_CSV = """
CREATE VIEW {view} AS SELECT * FROM read_csv('{path}', auto_detect = false, header = true,
    delim = ',', quote = '"', escape = '"', parallel = false, columns = {columns})
"""


@dataclass(frozen=True)
class Answer:
    """Counts and digests of the tables.

    Attributes:
        rows: in products.
        skus: distinct ones in products.
        names: rows of the counts; None: unknown.
        products_digest: of (sku, name, description); None: unknown.
        counts_digest: of (name, number of products); None: unknown.
    """

    rows: int
    skus: int
    names: int | None
    products_digest: str | None = None
    counts_digest: str | None = None

    def differences(self, other: "Answer") -> str:
        """Return how another answer differs from this one, the right one; empty: in nothing."""
        figures = (
            ("rows", self.rows, other.rows),
            ("distinct skus", self.skus, other.skus),
            ("names", self.names, other.names),
        )
        differences = [
            f"{got:,} {what} instead of {right:,}"
            for what, right, got in figures
            if right not in (None, got)
        ]
        if self.products_digest not in (None, other.products_digest):
            differences.append("other products")
        if self.counts_digest not in (None, other.counts_digest):
            differences.append("other counts")
        return ", ".join(differences)


def answer_in(connection: duckdb.DuckDBPyConnection, products: str, counts: str) -> Answer:
    """Return the answer in two relations, which have the columns of the two tables."""
    query = _ANSWER.format(products=products, counts=counts)
    return Answer(*connection.execute(query).fetchall()[0])


def answer_in_csv(products: Path, counts: Path) -> Answer:
    """Return the answer in two CSV files: sku, name, description; and name, no_of_products."""
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")
        text = "'VARCHAR'"
        columns = f"{{sku: {text}, name: {text}, description: {text}}}"
        connection.execute(_CSV.format(view="products", path=products, columns=columns))
        columns = f"{{name: {text}, no_of_products: 'BIGINT'}}"
        connection.execute(_CSV.format(view="counts", path=counts, columns=columns))
        return answer_in(connection, "products", "counts")


def right_answer(files: Sequence[Path], cache: Path) -> Answer:
    """Return the right answer after some CSV files, one after the other, and keep it in a file."""
    if not cache.exists():
        # The memory ends with the process.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            answer = pool.apply(_work_out, (files,))
        cache.write_text(json.dumps(asdict(answer), indent=2) + "\n")
    return Answer(**json.loads(cache.read_text()))


def _work_out(files: Sequence[Path]) -> Answer:
    rows = pd.concat(pd.read_csv(file, dtype=str, keep_default_na=False) for file in files)
    winners = rows.drop_duplicates("sku", keep="last")
    counts = winners.groupby("name", as_index=False).size()
    with TemporaryDirectory(dir=files[0].parent) as folder:
        products_csv, counts_csv = Path(folder) / "products.csv", Path(folder) / "counts.csv"
        winners[["sku", "name", "description"]].to_csv(products_csv, index=False)
        counts.to_csv(counts_csv, index=False)
        return answer_in_csv(products_csv, counts_csv)
