"""Sidecars of the catalog as they were when they were loaded, all at once."""

from collections import defaultdict
from collections.abc import Collection, Iterator

from lfp_pipeline.hosts.catalog import Catalog
from lfp_pipeline.model.delivery import RawName
from lfp_pipeline.raw_zone.catalog_sidecars import CatalogSidecars
from lfp_pipeline.raw_zone.sidecars import RECORD, Sidecar


class LoadedSidecars(CatalogSidecars):
    """Sidecars that are read from memory; a change goes to the catalog, and is not seen here."""

    def __init__(self, catalog: Catalog, place: str | None = None) -> None:
        """Load all sidecars."""
        super().__init__(catalog, place)
        self._loaded: dict[str, dict[str, dict[str, Sidecar]]] = defaultdict(dict)
        for key, stem, sidecars in self.all():
            if sidecars:
                self._loaded[key][stem] = sidecars

    def read(self, name: RawName, suffix: str) -> Sidecar | None:
        """Return a sidecar; None: there was none."""
        return self._loaded.get(name.key, {}).get(name.stem, {}).get(suffix)

    def exists(self, name: RawName, suffix: str) -> bool:
        """Return whether there was a sidecar."""
        return self.read(name, suffix) is not None

    def recorded(self, key: str) -> Iterator[str]:
        """Yield the stems of all records of a partition, well-formed or not."""
        sidecars = self._loaded.get(key, {})
        return (stem for stem, of_delivery in sidecars.items() if RECORD in of_delivery)

    def partitions(self) -> Collection[str]:
        """Return the keys of all partitions."""
        return [key for key in self._loaded if any(self.recorded(key))]
