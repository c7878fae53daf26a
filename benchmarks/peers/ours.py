"""lfp_pipeline itself, complete: file to raw zone to committed tables and ledger.

Landing is included: a copy of the file, its digest, and the wait until both are safe on the disk.
The other tools do none of that, but they start from the same file.
"""

import os
from pathlib import Path

import duckdb

from benchmarks.ours import Project
from benchmarks.peers.peer import DuckDBPeer


class Tool(DuckDBPeer):
    """The project's engine, without Dagster around it."""

    title = "lfp_pipeline, landing included"

    @classmethod
    def versions(cls) -> str:
        """The version of DuckDB; ours is that of the source."""
        return f"DuckDB {duckdb.__version__}"

    def start(self) -> None:
        self._project = Project(self.folder)

    def load(self, csv_file: Path) -> None:
        os.utime(csv_file)
        with self.phase("landing"):
            delivery = self._project.land(csv_file)
        with self.phase("ingest"):
            done = self._project.ingest(delivery)
        self.phases |= done.phases(self.phases.pop("ingest"))
