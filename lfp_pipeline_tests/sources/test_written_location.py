"""Locations as people write them: secrets are refused, variables are replaced."""

import pytest

from lfp_pipeline.sources.written_location import WrittenSecretError, is_signed, resolve_location

SIGNED = [
    "https://b.s3.amazonaws.com/a.csv?X-Amz-Credential=A&X-Amz-Security-Token=b&X-Amz-Signature=c",
    "https://b.s3.amazonaws.com/a.csv?AWSAccessKeyId=AKIA&Signature=hunter2&Expires=1893456000",
    "https://storage.googleapis.com/b/a.csv?X-Goog-Credential=x&X-Goog-Signature=hunter2",
    "https://acc.blob.core.windows.net/c/a.csv?sv=2024-11-04&se=2030-01-01&sig=hunter2",
    "https://d1.cloudfront.net/a.csv?Expires=1&Signature=hunter2&Key-Pair-Id=K1",
    "https://cdn.example.com/a.csv?token=hunter2&expires=1893456000",
]

QUERIES = """
token=hunter2 access_token=hunter2 format=csv&api_key=hunter2 format=csv;apikey=hunter2
X-Api-Key=hunter2 Ocp-Apim-Subscription-Key=hunter2 db_password=hunter2 %70assword=hunter2
client_secret=hunter2 key=AIzaSyhunter2hunter2 token=$hunter2 ws_key=HUNTER2ABCDEFGH
passkey=hunter license_key=HUNT feedkey=hunter2a1b2 secure_key=hunter2 customer_key=hunter2
session=hunter user_session=hunter2 PHPSESSID=hunter2 ftp_pass=hunter sid=hunter2hunter2hunter2
secret[x]=hunter2 secret%5Bx%5D=hunter2 data[password]=hunter2
t=eyJhbGciOiJIUzI1NiJ9.eyJhunter2.hunter2 x=ghp_hunter2hunter2hunter2 sig=x&access_token=hunter2
"""


@pytest.mark.parametrize(
    "location",
    [
        "https://user:hunter2@example.com/a.csv",
        "HTTPS://user:hunter2@example.com/a.csv",
        "  https://user:hunter2@example.com/a.csv",
        "https:/user:hunter2@example.com/a.csv",
        "https:user:hunter2@example.com/a.csv",
        "https:\\\\user:hunter2@example.com/a.csv",
        "https://user:hunt/er2@example.com/a.csv",
        "https://user:hunter2@evil@example.com/a.csv",
        "https://hunter2@example.com/a.csv",
        "https://hunter2:@example.com/a.csv",
        "https://user:hunter2$$x@example.com/a.csv",
        "user:hunter2@example.com:/a.csv",
        "sftp://user:hunter2@example.com/a.csv",
        "s3://key:hunter2@bucket/a.csv",
        *(f"https://example.com/a.csv?{query}" for query in QUERIES.split()),
        "https://example.com/a.csv#access_token=hunter2",
        "example.com/a.csv?token=hunter2",
        "https://example.com/?url=https%3A%2F%2Fuser%3Ahunter2%40example.org%2Fa.csv",
        "https://example.com/a.csv;password=hunter2",
        "https://example.com/a;jsessionid=hunter2/b.csv?x=1",
        "https://example.com/glpat-hunter2hunter2hunter2/a.csv",
        SIGNED[0] + "&password=hunter2",
        SIGNED[0] + "&access_token=hunter2",
        "https://example.com/a.csv?X-Amz-Security-Token=hunter2",
    ],
)
def test_a_written_secret_is_refused_with_advice_without_showing_it(location: str):
    with pytest.raises(WrittenSecretError, match="there is a password in it") as caught:
        resolve_location(location)
    assert "environment" in str(caught.value)
    assert "hunt" not in str(caught.value)


@pytest.mark.parametrize(
    "location",
    [
        "https://example.com/a.csv",
        "https://example.com:8080/user@2x.csv",
        "https://example.com/@user:name/a.csv",
        "https://[2001:db8::1]:80/a@b.csv",
        "https://example.com/a.csv?page_token=1&key=products&sort=token",
        "https://example.com/a.csv?token=&password",
        "https://example.com/a.csv?continuationToken=a1b2&$skiptoken=x1&csrf_token=a1b2",
        "https://example.com/a.csv?sort_key=price_2&primaryKey=a1&hotkey=F-1&bypass=1&compass=n2",
        "https://example.com/a.csv?sessions=2&trading_session=morning+2024&code=DE-BY&sid=shop",
        "https://example.com/sk-products-of-slovakia-2024.csv;v=2",
        "https://drive.google.com/file/d/0123456789/view?usp=sharing&resourcekey=0-abc",
        "https://docs.google.com/spreadsheets/d/0123456789/edit#gid=0",
        "sftp://user@example.com/a.csv",
        "abfss://container@account.dfs.core.windows.net/a.csv",
        "s3://bucket/a@b:c.csv",
        "/data/a:b@c.csv",
        "./user:name@host.csv",
        "C:\\data\\a.csv",
        "/data/a$b.csv",
        "C$/a$.csv",
        "https://example.com/a.csv?$filter=price&$top=10&price=$5",
    ],
)
def test_a_location_without_a_secret_is_unchanged(location: str):
    assert resolve_location(location) == location
    assert not is_signed(location)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("https://u:${PW}@example.com/a.csv", "https://u:hunter2@example.com/a.csv"),
        ("https://$PW:@example.com/a.csv", "https://hunter2:@example.com/a.csv"),
        ("https://example.com/?token=${PW}", "https://example.com/?token=hunter2"),
        (
            "https://example.com/?token=Bearer%20${PW}",
            "https://example.com/?token=Bearer%20hunter2",
        ),
        ("/data/${PW}/a$$b.csv", "/data/hunter2/a$b.csv"),
    ],
)
def test_a_variable_is_replaced_by_its_value(
    location: str, expected: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PW", "hunter2")
    assert resolve_location(location) == expected


@pytest.mark.parametrize("location", SIGNED)
def test_a_signed_url_is_accepted(location: str):
    assert resolve_location(location) == location
    assert is_signed(location)


@pytest.mark.parametrize("location", ["/data/a${b}.csv", "/data/${", "/data/${}", "/data/${a b}"])
def test_an_invalid_variable_is_refused_with_how_to_write_a_dollar_sign(location: str):
    with pytest.raises(ValueError, match=r"write \$\$ for"):
        resolve_location(location)
    assert resolve_location(location.replace("$", "$$")) == location
