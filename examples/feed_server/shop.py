"""A folder with a product file: its versions, whether it has changed, and updates of products."""

import csv
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from threading import Lock
from typing import BinaryIO, NamedTuple

# A second, and amply the kernel's tick, by which a file's time may lag behind the clock.
_SECOND_OVER = 1.05


class ShopError(Exception):
    """The product file is missing or malformed; the message is for people."""


class Product(NamedTuple):
    """A product of a shop."""

    sku: str
    name: str
    description: str


NO_PRODUCT = Product("", "", "")


@dataclass(frozen=True)
class Version:
    """One version of the product file: its HTTP validators, and its size in bytes."""

    etag: str
    last_modified: str
    size: int


class Shop:
    """A folder and its newest CSV file, which is made if there is none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._last_polled = folder / ".last_told"
        self._polling, self._updating, self._swapping = Lock(), Lock(), Lock()
        if not any(self._files()):
            with (folder / "products.csv").open("w", newline="") as file:
                csv.writer(file).writerow(Product._fields)

    def take_change(self) -> bool:
        """Return whether the file has changed in any way since the last call, across restarts.

        Raises:
            ShopError: the file is gone.
        """
        with self._polling:
            version = _version(self._newest().stat()).etag
            changed = not self._last_polled.exists() or self._last_polled.read_text() != version
            if changed:
                self._last_polled.write_text(version)
            return changed

    @contextmanager
    def newest(self) -> Iterator[tuple[BinaryIO, Version]]:
        """Open the newest version, which stays readable if a newer one replaces it.

        `Last-Modified` counts whole seconds. So a version is opened only after its second is over:
        the next version has another.

        Raises:
            ShopError: the file is gone.
        """
        with self._swapping:
            while 0 <= (age := _age(self._newest())) < _SECOND_OVER:
                time.sleep(_SECOND_OVER - age)
            file = self._newest().open("rb")
        with file:
            yield file, _version(os.fstat(file.fileno()))

    def update(self, product: Product) -> bool:
        """Change the product with this sku, or add it. The file is replaced as a whole.

        Returns:
            Whether there was a product with this sku.

        Raises:
            ShopError: the file is not CSV with the three columns, or has changed meanwhile.
        """
        with self._updating:
            path = self._newest()
            before = _version(path.stat())
            unfinished = path.with_name(f".{path.name}.part")
            known = _copy_with(product, path, unfinished)
            with self._swapping:
                if _version(path.stat()) != before:
                    msg = f"{path.name} has changed meanwhile. Try again."
                    raise ShopError(msg)
                os.utime(unfinished, ns=(time.time_ns(),) * 2)
                unfinished.replace(path)
        return known

    def products(self) -> Iterator[Product]:
        """Yield all products.

        Raises:
            ShopError: the file is not CSV with the three columns.
        """
        rows = _rows(self._newest())
        indexes = _column_indexes(next(rows, []))
        for row in rows:
            if len(row) > max(indexes):
                sku, name, description = (row[index] for index in indexes)
                yield Product(sku.strip(), name.strip(), description)

    def close(self) -> None:
        """Wait for the present update, and let no other begin."""
        self._updating.acquire()

    def _newest(self) -> Path:
        try:
            return max(self._files(), key=lambda path: path.stat().st_mtime_ns)
        except (ValueError, FileNotFoundError):
            msg = f"There is no CSV file in {self.folder}."
            raise ShopError(msg) from None

    def _files(self) -> Iterator[Path]:
        return self.folder.glob("[!.]*.csv")


def _version(status: os.stat_result) -> Version:
    etag = f'"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"'
    modified = min(int(status.st_mtime), int(time.time()))  # HTTP has no future dates.
    return Version(etag, formatdate(modified, usegmt=True), status.st_size)


def _age(path: Path) -> float:
    """Return the seconds since the begin of the second in which a file was written."""
    return time.time() - int(path.stat().st_mtime)


def _copy_with(product: Product, path: Path, target: Path) -> bool:
    """Copy a product file with a changed product; return whether its sku was there."""
    rows = _rows(path)
    header = next(rows, [])
    indexes = _column_indexes(header)
    known = False
    with target.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row in rows:
            # Change every row of the sku: readers differ in which one they use.
            if len(row) > max(indexes) and row[indexes[0]].strip() == product.sku:
                _put(product, row, indexes)
                known = True
            writer.writerow(row)
        if not known:
            row = [""] * len(header)
            _put(product, row, indexes)
            writer.writerow(row)
        file.flush()
        os.fsync(file.fileno())
    return known


def _put(product: Product, row: list[str], indexes: list[int]) -> None:
    for index, value in zip(indexes, product, strict=True):
        row[index] = value


def _column_indexes(header: list[str]) -> list[int]:
    """Return the indexes of the three columns."""
    names = [name.strip().lower() for name in header]
    try:
        return [names.index(column) for column in Product._fields]
    except ValueError:
        msg = f"The header of the product file must name {', '.join(Product._fields)}."
        raise ShopError(msg) from None


def _rows(path: Path) -> Iterator[list[str]]:
    # Bytes that are not UTF-8 are written as they were read.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        try:
            yield from csv.reader(file)
        except csv.Error as error:
            msg = f"{path.name} is not a CSV file: {error}."
            raise ShopError(msg) from error
