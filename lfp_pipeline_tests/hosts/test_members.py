"""What heads and workers say of themselves."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from lfp_pipeline.hosts.liveness import Mark
from lfp_pipeline.hosts.members import Member, mark_name, member_of, settings_digest
from lfp_pipeline.settings import Settings


def test_there_is_one_head_and_a_worker_of_each_name() -> None:
    assert (mark_name("head"), mark_name("worker", "w1")) == ("head", "worker w1")
    assert Member("head").text != Member("worker").text


def test_the_digest_shows_settings_that_hosts_must_have_in_common(tmp_path: Path) -> None:
    ours = Settings(
        data_dir=tmp_path,
        catalog=SecretStr("postgresql://lfp:one@db.example/lfp"),
        lake="s3://a-bucket/lake",
        raw="s3://a-bucket/raw",
        inbox="s3://a-bucket/inbox",
    )
    same = {
        "data_dir": tmp_path / "elsewhere",
        "threads": 99,
        "worker_runs": 99,
        "memory_limit": "4GB",
        "catalog": SecretStr("postgresql://lfp:two@db.example/lfp"),
    }
    assert settings_digest(ours.model_copy(update=same)) == settings_digest(ours)
    other = ours.model_copy(update={"null_tokens": ("NULL",)})
    assert settings_digest(other) != settings_digest(ours)


@pytest.mark.parametrize("place", ["lake", "raw", "inbox"])
def test_the_digest_shows_places_in_two_data_folders(tmp_path: Path, place: str) -> None:
    buckets = {name: f"s3://a-bucket/{name}" for name in ("lake", "raw", "inbox") if name != place}
    catalog = SecretStr("postgresql://lfp@db.example/lfp")
    one, other = (
        Settings(data_dir=tmp_path / name, catalog=catalog, **buckets)  # type: ignore[arg-type]
        for name in ("one", "other")
    )
    assert settings_digest(one) != settings_digest(other)


def test_the_mark_of_another_version_may_say_more_or_less() -> None:
    more = Mark("worker w1", '{"role": "worker", "slots": 2, "colour": "red"}', 0)
    assert member_of(more) == Member("worker", 2)
    assert member_of(Mark("worker w1", '{"slots": 2}', 0)) == Member("worker", 2)
    assert member_of(Mark("head", "{}", 0)) == Member("head")
