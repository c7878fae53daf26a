"""Folders that hosts do not have in common are named at the start."""

from pathlib import Path

from pydantic import SecretStr

from lfp_pipeline.hosts.places import unshared_folders
from lfp_pipeline.settings import Settings

CATALOG = SecretStr("postgresql://lfp@127.0.0.1/lfp")


def test_each_folder_that_no_setting_names_is_named_with_its_setting(tmp_path: Path) -> None:
    names = ("LFP_LAKE", "LFP_RAW", "LFP_INBOX")
    warnings = list(unshared_folders(Settings(data_dir=tmp_path, catalog=CATALOG)))
    for warning, name, folder in zip(warnings, names, ("lake", "raw", "inbox"), strict=True):
        assert warning.startswith(f"{name} is not set")
        assert str(tmp_path / folder) in warning


def test_a_bucket_and_a_folder_that_a_setting_names_are_shared(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path,
        catalog=CATALOG,
        lake="s3://bucket/lake",
        raw=str(tmp_path / "shared"),
        inbox="s3://bucket/inbox",
    )
    assert list(unshared_folders(settings)) == []
