"""Wrong settings are refused with their name, their value and the allowed values."""

import os
from ipaddress import ip_network
from pathlib import Path

import pytest

from lfp_pipeline.common.text import divided_size
from lfp_pipeline.errors import SettingsError
from lfp_pipeline.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.upper().startswith("LFP_"):
            monkeypatch.delenv(name)
    (tmp_path / "empty.toml").write_text("")
    monkeypatch.setenv("LFP_SETTINGS_FILE", str(tmp_path / "empty.toml"))


def settings_file(monkeypatch: pytest.MonkeyPatch, path: Path, content: str) -> None:
    path.write_text(content)
    monkeypatch.setenv("LFP_SETTINGS_FILE", str(path))


def refusal() -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings()
    return str(caught.value)


def test_without_settings_the_defaults_apply() -> None:
    settings = load_settings()
    assert settings.data_dir == Path(__file__).parents[1] / "data"
    assert settings.max_reject_share == 0.10


def test_all_folders_are_in_the_data_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LFP_DATA_DIR", str(tmp_path / "there"))
    settings = load_settings()
    folder = tmp_path / "there"
    assert settings.inbox_dir == folder / "inbox"
    assert settings.raw_dir == folder / "raw"
    assert settings.work_dir == folder / "work"
    assert settings.database_path == folder / "products.duckdb"


def test_a_relative_data_folder_is_made_absolute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LFP_DATA_DIR", "here")
    assert load_settings().data_dir == tmp_path / "here"


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LFP_DATA_DIR", "~/products")
    assert load_settings().data_dir == Path.home().resolve() / "products"


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    default = load_settings()
    monkeypatch.setenv("LFP_DATA_DIR", "")
    monkeypatch.setenv("LFP_THREADS", "")
    assert load_settings() == default


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("LFP_THREADS", "0", "greater than or equal to 1"),
        ("LFP_THREADS", "two", "valid integer"),
        ("LFP_MEMORY_LIMIT", "lots", "a size such as 2GB, 512MB or 1.5GiB"),
        ("LFP_MEMORY_LIMIT", "0GB", "at least 64MB"),
        ("LFP_MEMORY_LIMIT", "1KB", "at least 64MB"),
        ("LFP_PARALLEL_FILES", "65", "less than or equal to 64"),
        ("LFP_FALLBACK_ENCODING", "klingon", "no text encoding is called 'klingon'; write utf-8, "),
        ("LFP_MAX_REJECT_SHARE", "1.01", "less than or equal to 1"),
        ("LFP_MAX_REJECT_SHARE", "-0.1", "greater than or equal to 0"),
        ("LFP_MAX_REJECT_SHARE", "nan", "than or equal to"),
        ("LFP_DOWNLOAD_TIMEOUT_SECONDS", "0", "greater than 0"),
        ("LFP_WRITER_WAIT_SECONDS", "-1", "greater than or equal to 0"),
        ("LFP_COLUMN_ALIASES", "{sku", "JSON such as"),
        ("LFP_COLUMN_ALIASES", '{"colour": ["x"]}', "'name', 'sku' or 'description'"),
        ("LFP_COLUMN_ALIASES", '{"sku": "x"}', "valid list"),
        ("LFP_ALLOWED_HOSTS", "10.0.0.0/8,http://intranet", "a host name"),
        ("LFP_ALLOWED_HOSTS", "10.0.0.1/8", "a network (10.0.0.0/8)"),
        ("LFP_ALLOWED_HOSTS", "127.1", "an address"),
        ("LFP_ALLOWED_HOSTS", "intranet:8080", "a host name"),
        ("LFP_ALLOWED_HOSTS", "*.intranet", "a host name"),
        ("LFP_ALLOWED_HOSTS", "a,,b", "a host name"),
        ("LFP_IGNORED_FILES", "*.old,,", "a pattern such as *.old (names), drafts/ (folders)"),
        ("LFP_IGNORED_FILES", "../*.csv", "a pattern such as *.old (names), drafts/ (folders)"),
        ("LFP_DATA_DIR", __file__, "a folder"),
        ("LFP_DATA_DIR", __file__ + "/below", "a folder"),
    ],
)
def test_a_wrong_value_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(name, value)
    message = refusal()
    assert name in message
    assert allowed in message


def test_every_wrong_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LFP_THREADS", "0")
    monkeypatch.setenv("LFP_MEMORY_LIMIT", "lots")
    monkeypatch.setenv("LFP_QQQ", "1")
    message = refusal()
    assert "LFP_THREADS = '0'" in message
    assert "LFP_MEMORY_LIMIT = 'lots'" in message
    assert "LFP_QQQ is not a setting." in message


def test_an_unknown_variable_is_refused_with_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LFP_THREDS", "2")
    assert "LFP_THREDS is not a setting; did you mean LFP_THREADS?" in refusal()


def test_the_settings_file_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = 'threads = 3\n[column_aliases]\nsku = ["article no"]\n'
    settings_file(monkeypatch, tmp_path / "lfp.toml", content)
    settings = load_settings()
    assert settings.threads == 3
    assert settings.column_aliases == {"sku": ["article no"]}


def test_the_environment_wins_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings_file(monkeypatch, tmp_path / "lfp.toml", "threads = 3\nparallel_files = 5\n")
    monkeypatch.setenv("LFP_THREADS", "4")
    settings = load_settings()
    assert (settings.threads, settings.parallel_files) == (4, 5)


FORMER_NAMES = {
    "foreign_wait_seconds": "other_process_wait_seconds",
    "publish_share": "publish_time_share",
    "inbox_quiet_seconds": "inbox_stable_seconds",
}


@pytest.mark.parametrize(("former", "name"), FORMER_NAMES.items())
def test_a_former_name_works_and_the_new_one_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, former: str, name: str
) -> None:
    settings_file(monkeypatch, tmp_path / "lfp.toml", f"{former} = 0.25\n")
    assert getattr(load_settings(), name) == 0.25
    settings_file(monkeypatch, tmp_path / "lfp.toml", f"{former} = 0.25\n{name} = 0.5\n")
    assert getattr(load_settings(), name) == 0.5
    monkeypatch.setenv(f"LFP_{former.upper()}", "0.75")  # The environment wins over the file.
    assert getattr(load_settings(), name) == 0.75
    monkeypatch.setenv(f"LFP_{name.upper()}", "1")
    assert getattr(load_settings(), name) == 1


def test_a_wrong_value_by_a_former_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LFP_PUBLISH_SHARE", "2")
    assert "LFP_PUBLISH_TIME_SHARE = '2': Input should be less than" in refusal()


def test_hosts_are_listed_with_commas_or_as_toml_lists(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert load_settings().allowed_hosts == ()
    settings_file(monkeypatch, tmp_path / "lfp.toml", 'allowed_hosts = ["intranet", "::1"]\n')
    assert load_settings().allowed_hosts == ("intranet", ip_network("::1"))
    monkeypatch.setenv("LFP_ALLOWED_HOSTS", "files.example, 10.0.0.0/8")
    assert load_settings().allowed_hosts == ("files.example", ip_network("10.0.0.0/8"))


def test_patterns_are_listed_with_commas_or_as_toml_lists(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert load_settings().ignored_files == ()
    settings_file(monkeypatch, tmp_path / "lfp.toml", 'ignored_files = ["a,b*", "drafts/"]\n')
    assert load_settings().ignored_files == ("a,b*", "drafts/")
    monkeypatch.setenv("LFP_IGNORED_FILES", "*-old.csv, shop/*.txt")
    assert load_settings().ignored_files == ("*-old.csv", "shop/*.txt")


def test_a_missing_settings_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LFP_SETTINGS_FILE", str(tmp_path / "no.toml"))
    assert f"LFP_SETTINGS_FILE={tmp_path / 'no.toml'}: there is no such file." in refusal()


@pytest.mark.parametrize("content", [b"threads = = 2", b"\xff"])
def test_a_file_that_is_not_toml_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "lfp.toml"
    path.write_bytes(content)
    monkeypatch.setenv("LFP_SETTINGS_FILE", str(path))
    assert f"{path} is not TOML" in refusal()


@pytest.mark.parametrize("name", ["thread", "LFP_THREADS"])
def test_an_unknown_name_in_the_file_is_refused_with_a_suggestion(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    settings_file(monkeypatch, tmp_path / "lfp.toml", f"{name} = 3\n")
    assert f"{name} is not a setting; did you mean threads?" in refusal()


@pytest.mark.parametrize(
    ("size", "parts", "part"),
    [
        ("2GB", 4, "0.500000GB"),
        ("1.5 GiB", 2, "0.750000GiB"),
        ("200000000KB", 2, "100000000.000000KB"),
    ],
)
def test_a_divided_size_is_one_that_duckdb_reads(size: str, parts: int, part: str) -> None:
    assert divided_size(size, parts) == part


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().threads = 3


def test_a_webhook_is_kept_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LFP_WEBHOOK_URL", "https://chat.example/hooks/T0/s3cret")
    settings = load_settings()
    assert settings.webhook_url
    assert settings.webhook_url.get_secret_value() == "https://chat.example/hooks/T0/s3cret"
    assert "s3cret" not in f"{settings!r} {settings}"


@pytest.mark.parametrize(
    "url", ["s3cret", "ftp://chat.example/s3cret", "https:///s3cret", "http://[s3cret/"]
)
def test_a_wrong_webhook_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("LFP_WEBHOOK_URL", url)
    message = refusal()
    assert "LFP_WEBHOOK_URL = (a secret): " in message
    assert "s3cret" not in message


@pytest.mark.parametrize(
    ("written", "codec"),
    [("latin-1", "cp1252"), ("Windows-1252", "cp1252"), ("utf-16", "utf-16"), ("sjis", "cp932")],
)
def test_the_fallback_encoding_may_be_any_text_encoding(
    monkeypatch: pytest.MonkeyPatch, written: str, codec: str
) -> None:
    monkeypatch.setenv("LFP_FALLBACK_ENCODING", written)
    assert load_settings().fallback_encoding == codec


@pytest.mark.parametrize("name", ["a?b", "a\\b", "?"])
def test_a_path_that_duckdb_takes_for_another_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LFP_DATA_DIR", str(tmp_path / name / "data"))
    with pytest.raises(SettingsError, match=r"LFP_DATA_DIR = .*: a path without [?\\], which mean"):
        load_settings()


def test_dumped_settings_can_be_read_again(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, allowed_hosts="10.0.0.0/8,::1,intranet")  # type: ignore[arg-type]
    for dumped in (settings.model_dump(), settings.model_dump(mode="json")):
        assert Settings(**dumped) == settings


def test_several_hosts_are_settings_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LFP_DATA_DIR", str(tmp_path))
    assert load_settings().lake_place == str(tmp_path / "lake")
    assert load_settings().inbox_place == str(load_settings().inbox_dir)
    monkeypatch.setenv("LFP_CATALOG", "postgresql://lfp:s3cret@db.example/lfp")
    monkeypatch.setenv("LFP_LAKE", "s3://my-bucket/lake/")
    monkeypatch.setenv("LFP_RAW", "s3://my-bucket")
    monkeypatch.setenv("LFP_INBOX", "drop")
    monkeypatch.setenv("LFP_BROKER", "rediss://:s3cret@redis.example/0")
    monkeypatch.setenv("LFP_MAX_WORKERS", "3")
    settings = load_settings()
    assert settings.lake_place == "s3://my-bucket/lake"
    assert settings.raw_place == "s3://my-bucket"
    assert settings.inbox_place == str(Path("drop").absolute()) == str(settings.inbox_dir)
    assert settings.max_workers == 3
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("LFP_CATALOG", "mysql://lfp:s3cret@db/lfp", "postgresql://user@host/name"),
        ("LFP_CATALOG", "postgresql://lfp:s3cret@db:wrong/lfp", "postgresql://user@host/name"),
        ("LFP_CATALOG", "postgresql://lfp:s3cret%zz@db/lfp", "percent-encoded"),
        ("LFP_CATALOG", "postgresql://lfp:s3cret%00@db/lfp", "percent-encoded"),
        ("LFP_CATALOG", "postgresql://lfp:a b-s3cret@db/lfp", "percent-encoded"),
        ("LFP_CATALOG", "postgresql://lfp:1/s3cret@db/lfp", "percent-encoded"),
        ("LFP_CATALOG", "postgresql://lfp:1?s3cret@db/lfp", "percent-encoded"),
        ("LFP_CATALOG", "postgresql://lfp:1#s3cret@db/lfp", "percent-encoded"),
        ("LFP_CATALOG", "postgresql://lfp:a@s3cret@db/lfp", "percent-encoded"),
        ("LFP_CATALOG", "postgresql://lfp@db/lfp?sslpassword=s3cret", "without sslpassword"),
        ("LFP_BROKER", "redis://:1/s3cret@db/0", "percent-encoded"),
        ("LFP_LAKE", "s3://my-bucket/lake", "LFP_CATALOG is not set"),
        ("LFP_RAW", "s3://my-bucket/raw", "LFP_CATALOG is not set"),
        ("LFP_BROKER", "redis://:s3cret@db/0", "LFP_CATALOG is not set"),
        ("LFP_BROKER", "amqp://:s3cret@db/0", "redis://user@host/name"),
        ("LFP_INBOX", "s3://B", "s3://bucket/prefix"),
        ("LFP_INBOX", "gs://bucket", "s3://bucket/prefix"),
        ("LFP_INBOX", "gs:bucket", "s3://bucket/prefix"),
        ("LFP_INBOX", "s3:/bucket/inbox", "s3://bucket/prefix"),
    ],
)
def test_wrong_settings_of_several_hosts_are_explained(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(variable, value)
    message = refusal()
    assert variable in message
    assert reason in message
    assert "s3cret" not in message


def test_the_command_of_the_page_follows_from_the_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().ui_command == "lfp dev"
    monkeypatch.setenv("LFP_CATALOG", "postgresql://lfp@db.example/lfp")
    assert load_settings().ui_command == "lfp cluster head"


def test_a_missing_catalog_is_named_once_and_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LAKE", "RAW", "INBOX"):
        monkeypatch.setenv(f"LFP_{name}", f"s3://my-bucket/{name.lower()}")
    monkeypatch.setenv("LFP_THREADS", "none")
    first, second = refusal().removeprefix("Wrong settings:\n").strip().split("\n")
    assert first.startswith("LFP_CATALOG is not set")
    assert first.endswith("LFP_LAKE, LFP_RAW, LFP_INBOX.")
    assert second.strip().startswith("LFP_THREADS")
