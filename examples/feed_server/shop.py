"""A folder with a product file: its versions, the news of them, and changes to its products."""

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

# A second, and by how much a file's time may lag behind the clock: the kernel's tick, amply.
_SECOND_OVER = 1.05


class ShopError(Exception):
    """The product file is not as it must be; the message is for people."""


class Product(NamedTuple):
    """What a shop sells."""

    sku: str
    name: str
    description: str


NO_PRODUCT = Product("", "", "")


@dataclass(frozen=True)
class Version:
    """One version of the product file: what HTTP says of it, and its size in bytes."""

    etag: str
    last_modified: str
    size: int


class Shop:
    """A folder and its newest CSV file; one is made where there is none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._last_told = folder / ".last_told"
        self._telling, self._updating, self._swapping = Lock(), Lock(), Lock()
        if not any(self._files()):
            with (folder / "products.csv").open("w", newline="") as file:
                csv.writer(file).writerow(Product._fields)

    def take_news(self) -> bool:
        """Whether the file has changed since somebody last asked, in whatever way it did.

        Asking takes the news, even across a restart.

        Raises:
            ShopError: somebody took the file away.
        """
        with self._telling:
            version = _version(self._newest().stat()).etag
            changed = not self._last_told.exists() or self._last_told.read_text() != version
            if changed:
                self._last_told.write_text(version)
            return changed

    @contextmanager
    def newest(self) -> Iterator[tuple[BinaryIO, Version]]:
        """The newest version, to be read at leisure: what replaces it does not touch it.

        `Last-Modified` counts whole seconds. So a version is given out only once its second is
        over, and the next one has another.

        Raises:
            ShopError: somebody took the file away.
        """
        with self._swapping:
            while 0 <= (age := _age(self._newest())) < _SECOND_OVER:
                time.sleep(_SECOND_OVER - age)
            file = self._newest().open("rb")
        with file:
            yield file, _version(os.fstat(file.fileno()))

    def update(self, product: Product) -> bool:
        """Change the product of that sku, or add it. The file is replaced as a whole.

        Returns:
            Whether the product was there.

        Raises:
            ShopError: the file is not CSV with the three columns, or others changed it meanwhile.
        """
        with self._updating:
            path = self._newest()
            before = _version(path.stat())
            unfinished = path.with_name(f".{path.name}.part")
            known = _copy_with(product, path, unfinished)
            with self._swapping:
                if _version(path.stat()) != before:
                    msg = f"{path.name} was changed by somebody else meanwhile. Try again."
                    raise ShopError(msg)
                os.utime(unfinished, ns=(time.time_ns(),) * 2)
                unfinished.replace(path)
        return known

    def products(self) -> Iterator[Product]:
        """All products, one after the other.

        Raises:
            ShopError: the file is not CSV with the three columns.
        """
        rows = _rows(self._newest())
        places = _places(next(rows, []))
        for row in rows:
            if len(row) > max(places):
                sku, name, description = (row[place] for place in places)
                yield Product(sku.strip(), name.strip(), description)

    def close(self) -> None:
        """Let the update that is under way come to its end, and no other begin."""
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
    modified = min(int(status.st_mtime), int(time.time()))  # HTTP knows no future dates.
    return Version(etag, formatdate(modified, usegmt=True), status.st_size)


def _age(path: Path) -> float:
    """The seconds since the second in which a file was written began."""
    return time.time() - int(path.stat().st_mtime)


def _copy_with(product: Product, path: Path, target: Path) -> bool:
    """Copy a product file with that product in it; whether its sku was there."""
    rows = _rows(path)
    header = next(rows, [])
    places = _places(header)
    known = False
    with target.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row in rows:
            # Every row of the sku, so that it does not matter which of them a reader believes.
            if len(row) > max(places) and row[places[0]].strip() == product.sku:
                _put(product, row, places)
                known = True
            writer.writerow(row)
        if not known:
            row = [""] * len(header)
            _put(product, row, places)
            writer.writerow(row)
        file.flush()
        os.fsync(file.fileno())
    return known


def _put(product: Product, row: list[str], places: list[int]) -> None:
    for place, value in zip(places, product, strict=True):
        row[place] = value


def _places(header: list[str]) -> list[int]:
    """Where the three columns are."""
    names = [name.strip().lower() for name in header]
    try:
        return [names.index(column) for column in Product._fields]
    except ValueError:
        msg = f"The header of the product file must name {', '.join(Product._fields)}."
        raise ShopError(msg) from None


def _rows(path: Path) -> Iterator[list[str]]:
    # Bytes that are not UTF-8 come out as they went in.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        try:
            yield from csv.reader(file)
        except csv.Error as error:
            msg = f"{path.name} is not a CSV file: {error}."
            raise ShopError(msg) from error
