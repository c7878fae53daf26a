"""Finds what `lfp ingest` is to ingest: files of the inbox, other files, URLs and named sources."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from lfp_pipeline.cli.output import UsageProblem
from lfp_pipeline.common.setting_types import BUCKET
from lfp_pipeline.common.text import preview
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LandingError, OperationRefusedError
from lfp_pipeline.model.partition_key import partition_key
from lfp_pipeline.sources.base import Source
from lfp_pipeline.sources.inbox import InboxFile, Listing, list_inbox
from lfp_pipeline.sources.inbox_source import InboxSource
from lfp_pipeline.sources.local_file import LocalFile
from lfp_pipeline.sources.locations import file_name_of
from lfp_pipeline.sources.written_location import resolve_location, shown_location

_IGNORED = "ignored by its name"


@dataclass(frozen=True)
class Target:
    """A file to ingest.

    Attributes:
        name: the name of the file, as people know it.
        source: where to fetch it from.
        file: the file of the inbox; None: the source is elsewhere, and has to land first.
        location: the URL as it is written, which the name of the source shows in part only.
    """

    name: str
    source: Source
    file: InboxFile | None = None
    location: str = ""

    @property
    def key(self) -> str:
        """The partition of the file."""
        return partition_key(self.name)


def find_targets(
    engine: Engine, texts: Sequence[str], name: str | None, log: logging.Logger
) -> list[Target]:
    """Return the files that the arguments of the command name, each once.

    Args:
        name: the name to ingest the only file under; None: its own.

    Raises:
        OperationRefusedError: there is no such file, or two files have the same name.
        UsageProblem: a location is malformed, or has a secret in it.
    """
    finder = _Finder(engine, log, name)
    targets = [target for text in texts for target in finder.targets_of(text)]
    if name is not None:
        if len(targets) != 1 or targets[0].file is not None:
            msg = "--as names a single file or URL outside the inbox."
            raise UsageProblem(msg)
        targets = [Target(name, targets[0].source)]
    unique: dict[str, Target] = {}
    for target in targets:
        other = unique.setdefault(target.key, target)
        if (other.source.name, other.location) != (target.source.name, target.location):
            msg = (
                f"{other.source.name} and {target.source.name} have the same name, so one would "
                "replace the other. Ingest them one by one, each with --as NAME."
            )
            raise OperationRefusedError(msg)
    return list(unique.values())


class _Finder:
    """Finds the files of one command, which lists the inbox once."""

    def __init__(self, engine: Engine, log: logging.Logger, name: str | None) -> None:
        self._engine = engine
        self._log = log
        self._name = name
        self._inbox = engine.settings.inbox_dir.resolve()

    @cached_property
    def _listing(self) -> Listing:
        return self._engine.catalog.list_stable_files(self._log)

    @cached_property
    def _files(self) -> Mapping[str, InboxFile]:
        return {file.name: file for file in self._listing.ready}

    def targets_of(self, text: str) -> Iterator[Target]:
        """Yield the files that an argument names."""
        name = text.removeprefix(f"{self._engine.settings.inbox_place}/")
        if self._is_in_bucket(name):
            yield from self._in_inbox(name.rstrip("/"), text)
            return
        try:
            path = next((path for path in (Path(text), self._inbox / text) if _exists(path)), None)
        except PermissionError:  # The landing says which file, and what to do.
            path = Path(text).absolute()
            yield Target(path.name, LocalFile(path))
            return
        if path is None:
            yield _elsewhere(self._engine, text, self._name)
            return
        whole = path.resolve()
        if whole.is_relative_to(self._inbox):
            yield from self._in_inbox(whole.relative_to(self._inbox).as_posix(), text)
        elif path.is_dir():
            yield from self._in_folder(whole)
        elif not path.is_file():
            msg = f"{text} is no regular file."
            raise OperationRefusedError(msg)
        else:
            yield Target(path.name, LocalFile(path.absolute()))

    def _is_in_bucket(self, name: str) -> bool:
        """Return whether the inbox is in a bucket and has a file, or a folder, of a name."""
        if not self._engine.settings.inbox_place.startswith(BUCKET):
            return False
        listed = self._files.keys() | _left_out(self._listing).keys()
        return name in listed or any(other.startswith(f"{name.rstrip('/')}/") for other in listed)

    def _in_inbox(self, name: str, text: str) -> Iterator[Target]:
        """Yield a file of the inbox, or the files of a folder in it."""
        left_out = _left_out(self._listing)
        if name in self._files:
            found = [self._files[name]]
        elif entries := [at for at in _with_folders_above(name) if at in left_out]:
            reason = left_out[entries[0]]
            do = f"Rename {entries[0]}" if reason == _IGNORED else "`lfp status` says what to do"
            msg = f"{text} cannot be ingested now: {reason}. {do}."
            raise OperationRefusedError(msg)
        else:
            inside = "" if name == "." else f"{name}/"
            found = [file for other, file in self._files.items() if other.startswith(inside)]
            others = [other for other in left_out if other.startswith(inside)]
            self._require_files(text, found, {other: left_out[other] for other in others})
        for file in found:
            yield Target(file.name, self._engine.catalog.inbox_source(file), file)

    def _in_folder(self, folder: Path) -> Iterator[Target]:
        """Yield the files of a folder outside the inbox, by the rules of the inbox.

        The files of the data folder are no sources: the raw zone would be ingested as new files.
        """
        settings = self._engine.settings
        data = settings.data_dir.resolve()
        if data.is_relative_to(folder) or folder.is_relative_to(data):
            msg = (
                f"{folder} has files of the data folder {data} in it. Name the files or folders to "
                "ingest; `lfp ingest` without a name ingests the inbox."
            )
            raise OperationRefusedError(msg)
        try:
            os.scandir(f"{folder}/.").close()  # Fails, too, if the folder cannot be entered.
        except OSError as error:
            msg = f"The folder {folder} cannot be read: {error.strerror}. Make it readable."
            raise OperationRefusedError(msg) from error
        listing = list_inbox(folder, stable_seconds=0, ignored=settings.ignored_files)
        self._require_files(str(folder), listing.ready, _left_out(listing))
        for file in listing.ready:
            yield Target(file.name, InboxSource(folder, file))

    def _require_files(
        self, folder: str, found: Sequence[InboxFile], left_out: Mapping[str, str]
    ) -> None:
        """Raise if a folder has no files, and log which of its entries are left out, and why."""
        names = preview([f"{name} ({reason})" for name, reason in left_out.items()])
        if not found:
            msg = f"{folder} has no file that can be ingested now"
            raise OperationRefusedError(f"{msg}: {names}." if names else f"{msg}.")
        if names:
            self._log.warning("Left out of %s: %s", folder, names)


def _exists(path: Path) -> bool:
    """Return whether a path exists; raise PermissionError if that cannot be seen."""
    try:
        path.stat()
    except PermissionError:
        raise
    except (OSError, ValueError):  # Also for a URL: too long, or with a null character.
        return False
    return True


def _left_out(listing: Listing) -> dict[str, str]:
    """Return why entries of a folder are left out, by name, without the `/` of folders."""
    return {
        **{entry.name.rstrip("/"): entry.reason for entry in listing.skipped},
        **dict.fromkeys(listing.still_writing, "a program is still writing it"),
        **{name.rstrip("/"): _IGNORED for name in listing.ignored},
    }


def _with_folders_above(name: str) -> list[str]:
    return [name, *map(str, PurePosixPath(name).parents)]


def _elsewhere(engine: Engine, text: str, name: str | None) -> Target:
    """Return a URL, under a name or its own, or a source that the sources file names."""
    key = partition_key(text)
    if named := engine.catalog.named_sources([key]):
        return Target(text, named[key])
    if ":" not in text:
        msg = (
            f"There is no file {shown_location(text)}, neither here nor in the inbox, and the "
            "sources file names no such source."
        )
        raise OperationRefusedError(msg)
    try:
        source = engine.catalog.source_at(resolve_location(text))
    except ValueError as error:
        msg = f"The location is not read: {error}."
        raise UsageProblem(msg) from None
    except LandingError as error:
        raise UsageProblem(str(error)) from None
    return Target(name or _file_name(source), source, location=text)


def _file_name(source: Source) -> str:
    name = file_name_of(source)
    if not name:
        msg = f"{source.name} names no file: add --as NAME."
        raise UsageProblem(msg)
    return name
