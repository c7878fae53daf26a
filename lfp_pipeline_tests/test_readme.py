from pathlib import Path

import pytest

from lfp_pipeline.settings import ENV_PREFIX, Settings

README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.mark.parametrize("field", Settings.model_fields)
def test_the_readme_tells_every_setting_as_it_is(field):
    info = Settings.model_fields[field]
    row = next(line for line in README.splitlines() if f"`{ENV_PREFIX}{field.upper()}`" in line)
    assert info.description in row
    if info.default_factory is None and info.default is not None:
        assert f"| {info.default} |" in row
