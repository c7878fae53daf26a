"""What the README and the docs say of settings and limits is what they are."""

import re
from pathlib import Path

import pytest

from lfp_pipeline.reading.reject_limit import KEPT_AS_EVIDENCE, MAX_REJECTS
from lfp_pipeline.settings import ENV_PREFIX, Settings, load_settings

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text()
OPERATIONS = (PROJECT / "docs" / "operations.md").read_text()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_readme_tells_every_setting_as_it_is(name: str) -> None:
    field = Settings.model_fields[name]
    start = f"| `{ENV_PREFIX}{name.upper()}` |"
    (row,) = [line for line in README.splitlines() if line.startswith(start)]
    assert field.description is not None
    assert field.description in row
    if field.default_factory is None and field.default is not None:
        assert f"| {field.default} |" in row


def test_the_list_for_the_settings_file_is_read_as_it_is_meant(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (example,) = re.findall("`(null_tokens = .*?)`", README)
    (tmp_path / "lfp.toml").write_text(example)
    monkeypatch.setenv("LFP_SETTINGS_FILE", str(tmp_path / "lfp.toml"))
    assert load_settings().null_tokens == (r"\N", "NULL")


def test_the_operations_page_tells_how_many_rejects_refuse_a_file() -> None:
    (row,) = [line for line in OPERATIONS.splitlines() if '"More than ' in line]
    assert f"{MAX_REJECTS:,}" in row
    assert f"{KEPT_AS_EVIDENCE:,}" in row
