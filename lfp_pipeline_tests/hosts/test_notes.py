"""Notes that processes share: in a file, and in a real PostgreSQL database."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from lfp_pipeline.errors import SettingsError
from lfp_pipeline.hosts.notes import FileNote, Note, RowNote, create_tables
from lfp_pipeline.hosts.postgres import session


@pytest.fixture(params=["file", "row"])
def note(request: pytest.FixtureRequest, tmp_path: Path) -> Note:
    if request.param == "file":
        return FileNote(tmp_path / "note")
    catalog = request.getfixturevalue("catalog_url")
    with session(catalog, "a test") as connection:
        create_tables(connection)
        create_tables(connection)
    return RowNote(catalog, "note")


def test_a_note_has_the_text_that_was_written_last(note: Note) -> None:
    assert note.read() is None
    for text in ("first", '{"second": "é"}', ""):
        note.write(text)
        assert note.read() == text


def test_a_damaged_file_counts_as_no_note(tmp_path: Path) -> None:
    (tmp_path / "note").write_bytes(b"\xff")
    assert FileNote(tmp_path / "note").read() is None


def test_a_missing_table_is_reported_with_the_command_that_makes_it(
    catalog_url: SecretStr,
) -> None:
    with pytest.raises(SettingsError, match="lfp cluster init"):
        RowNote(catalog_url, "note").read()
