"""The command that validates settings and sources."""

from pathlib import Path

import pytest

from lfp_pipeline.cli.main import main


def check() -> object:
    """Return the exit code of `lfp check`."""
    with pytest.raises(SystemExit) as ended:
        main(["check"])
    return ended.value.code


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LFP_DATA_DIR", str(tmp_path))


def test_valid_settings_pass_silently(capsys: pytest.CaptureFixture[str]):
    assert check() == 0
    assert capsys.readouterr() == ("", "")


def test_wrong_settings_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("LFP_THREADS", "0")
    assert check() == 1
    assert "LFP_THREADS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{name: a}", "entry 1: location: Field required"),
        ("{name: a, location: 'gopher://host/x'}", "a: gopher:// is not supported"),
        ("{name: a, location: 'https://h:99999/'}", "a: The URL is not valid"),
    ],
)
def test_wrong_sources_are_printed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    entry: str,
    problem: str,
):
    file = tmp_path / "sources.yaml"
    file.write_text(f"sources: [{entry}]")
    monkeypatch.setenv("LFP_SOURCES_FILE", str(file))
    assert check() == 1
    assert problem in capsys.readouterr().err
