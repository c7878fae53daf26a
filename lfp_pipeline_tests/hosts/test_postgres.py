"""Connections to the catalog's database, on a real server."""

import logging
from collections.abc import Callable

import pytest
from pydantic import SecretStr

from examples.processes import free_port
from lfp_pipeline.errors import CatalogUnreachableError, SettingsError
from lfp_pipeline.hosts.postgres import connect, connection_text, place_of
from testing.postgres import PostgresServer
from testing.processes import until

pytest.importorskip("psycopg")

SHOWN = "work_mem", "tcp_keepalives_idle", "application_name"


def test_a_connection_has_its_name_and_ends_soon_after_its_link_is_cut(
    catalog_url: SecretStr,
) -> None:
    with connect(catalog_url, "a test") as connection:
        settings = connection.execute(
            "SELECT name, setting FROM pg_settings WHERE name LIKE 'tcp_%' "
            "OR name = 'application_name'"
        ).fetchall()
    assert dict(settings) == {
        "application_name": "a test",
        "tcp_keepalives_idle": "5",
        "tcp_keepalives_interval": "2",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": "11000",
    }


def test_each_statement_is_a_transaction_of_its_own_unless_one_is_wanted(
    catalog_url: SecretStr,
) -> None:
    with connect(catalog_url, "writer") as connection:
        connection.execute("CREATE TABLE t (x integer)")
        with connect(catalog_url, "other", transaction=True) as other:
            other.execute("INSERT INTO t VALUES (1)")
            assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
            other.commit()
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (1,)


def test_an_unreachable_server_is_named_and_the_password_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port()
    url = SecretStr(f"postgresql://lfp:s3cret@127.0.0.1:{port}/lfp")
    with caplog.at_level(logging.DEBUG), pytest.raises(CatalogUnreachableError) as raised:
        connect(url, "a test")
    assert f"127.0.0.1:{port}/lfp" in str(raised.value)
    assert "LFP_CATALOG" in str(raised.value)
    assert "s3cret" not in str(raised.value) + repr(raised.value.__cause__) + caplog.text


def refusal(url: SecretStr) -> str:
    try:
        connect(url, "a test").close()
    except CatalogUnreachableError as error:
        return str(error)
    return ""


def test_a_missing_or_wrong_password_names_where_it_is_set(
    postgres: PostgresServer, catalog_url: SecretStr
) -> None:
    with connect(catalog_url, "a test") as connection:
        connection.execute("CREATE ROLE with_password LOGIN PASSWORD 's3cret'")
    postgres.require_password("with_password")
    for login in ("with_password", "with_password:wrong"):
        url = SecretStr(catalog_url.get_secret_value().replace("lfp@", f"{login}@"))
        until(lambda url=url: "the password in PGPASSWORD" in refusal(url), 10)


def test_the_options_of_the_url_have_precedence(catalog_url: SecretStr) -> None:
    url = f"{catalog_url.get_secret_value()}?connect_timeout=3&options=-c%20work_mem%3D8MB"
    assert "connect_timeout=3" in connection_text(SecretStr(url), "a test")
    with connect(SecretStr(url), "a test") as connection:
        shown = [connection.execute(f"SHOW {name}").fetchone() for name in SHOWN]
    assert shown == [("8MB",), ("5",), ("a test",)]


@pytest.mark.parametrize("function", [place_of, lambda url: connect(url, "a test")])
def test_an_option_that_libpq_does_not_know_is_named(function: Callable) -> None:
    with pytest.raises(SettingsError, match=r"LFP_CATALOG .* no option passwrd") as raised:
        function(SecretStr("postgresql://lfp@db/lfp?passwrd=s3cret"))
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("password", ["s3cr%00et", "s3cret%zz"])
def test_a_malformed_url_is_not_shown(password: str) -> None:
    for url in (f"postgresql://lfp:{password}@db/lfp", f"postgresql://lfp@db/lfp?a=b&{password}"):
        with pytest.raises(SettingsError, match="LFP_CATALOG is no URL for libpq: ") as raised:
            place_of(SecretStr(url))
        assert "s3c" not in str(raised.value)


def test_the_cause_of_a_refused_connection_is_named() -> None:
    url = SecretStr(f"postgresql://lfp@127.0.0.1:{free_port()}/lfp")
    with pytest.raises(CatalogUnreachableError, match=r"Connection refused\. Check that it runs"):
        connect(url, "a test")


def test_a_missing_database_is_named(postgres: PostgresServer) -> None:
    with pytest.raises(CatalogUnreachableError, match='"missing" does not exist'):
        connect(SecretStr(postgres.url("missing")), "a test")


def test_a_place_has_no_user_and_no_password() -> None:
    url = SecretStr("postgresql://lfp:s3cret@db.example/lfp")
    assert place_of(url) == "db.example:5432/lfp"
    assert "s3cret" in connection_text(url, "a test")
