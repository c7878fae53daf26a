"""What heads and workers say of themselves."""

from pathlib import Path

from pydantic import SecretStr

from lfp_pipeline.hosts.members import Member, mark_name, settings_digest
from lfp_pipeline.settings import Settings


def test_there_is_one_head_and_a_worker_of_each_name() -> None:
    assert (mark_name("head"), mark_name("worker", "w1")) == ("head", "worker w1")
    assert Member("head").text != Member("worker").text


def test_the_digest_shows_settings_that_hosts_must_have_in_common(tmp_path: Path) -> None:
    ours = Settings(data_dir=tmp_path, catalog=SecretStr("postgresql://lfp:one@db.example/lfp"))
    same = {
        "data_dir": tmp_path / "elsewhere",
        "threads": 99,
        "memory_limit": "4GB",
        "catalog": SecretStr("postgresql://lfp:two@db.example/lfp"),
    }
    assert settings_digest(ours.model_copy(update=same)) == settings_digest(ours)
    other = ours.model_copy(update={"null_tokens": ("NULL",)})
    assert settings_digest(other) != settings_digest(ours)
