"""What the README says of the settings is what they are."""

from pathlib import Path

import pytest

from lfp_pipeline.settings import ENV_PREFIX, Settings

README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_readme_tells_every_setting_as_it_is(name: str) -> None:
    field = Settings.model_fields[name]
    start = f"| `{ENV_PREFIX}{name.upper()}` |"
    (row,) = [line for line in README.splitlines() if line.startswith(start)]
    assert field.description is not None
    assert field.description in row
    if field.default_factory is None and field.default is not None:
        assert f"| {field.default} |" in row
