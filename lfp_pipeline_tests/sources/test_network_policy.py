"""The network policy: only public and allowed addresses are reached, in whatever spelling."""

import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from lfp_pipeline.errors import LandingError
from lfp_pipeline.sources.base import DownloadLimits
from lfp_pipeline.sources.locations import source_at
from lfp_pipeline.sources.network_policy import NetworkPolicy
from testing.ftp_server import ftp_serving
from testing.http_server import LOOPBACK, allowing, content_of, serving, status
from testing.sources import Bytes

CLOSED = DownloadLimits(attempts=3, seconds=60, max_bytes=10**9, longest_pause_seconds=0.01)
OPEN = replace(CLOSED, network_policy=LOOPBACK)
CONTENT = b"sku,name,description\n"

PUBLIC, PRIVATE = "93.184.215.14", "10.0.0.1"


class Names:
    """Resolver with a list of answers for each name; addresses resolve to themselves."""

    def __init__(self, answers: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self.remaining = {host: list(those) for host, those in answers.items()}
        self.asked: list[str] = []
        self._real = socket.getaddrinfo

    def getaddrinfo(
        self,
        host: str,
        port: int,
        family: int = 0,
        type: int = 0,  # noqa: A002 (as it is called)
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        if host not in self.remaining:
            return self._real(host, port, family, type, proto, flags | socket.AI_NUMERICHOST)
        self.asked.append(host)
        those = self.remaining[host]
        addresses = those.pop(0) if len(those) > 1 else those[0]
        return [found for address in addresses for found in self._real(address, port, type=type)]


def resolving(monkeypatch: pytest.MonkeyPatch, **answers: Sequence[Sequence[str]]) -> Names:
    """Replace the resolver: for each name under `.example`, the answers of successive look-ups."""
    names = Names({f"{name}.example": those for name, those in answers.items()})
    names.remaining |= {"localhost": [["127.0.0.1"]], "localhost.": [["::1"]]}
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    return names


def fetch(url: str, limits: DownloadLimits = CLOSED) -> bytes:
    sink = Bytes()
    source_at(url, limits).fetch(sink, lambda _done, _size: None)
    return sink.content


def refusal(url: str, limits: DownloadLimits = CLOSED) -> str:
    with pytest.raises(LandingError) as caught:
        fetch(url, limits)
    assert caught.value.permanent
    return str(caught.value)


@pytest.fixture
def no_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object) -> None:
        pytest.fail("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", connect)


LOCAL = """
127.0.0.1 127.1 127.0.1 127.255.255.254 2130706433 017700000001 0x7f000001 0x7f.0x0.0x0.0x1
0X7F.1 0 0.0.0.0
10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 2852039166 0xa9fea9fe
025177524776 100.64.0.1 100.100.100.200 168.63.129.16 192.0.0.192 192.0.2.1 198.18.0.1 224.0.0.1
240.0.0.1 255.255.255.255
[::] [::1] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::ffff:a9fe:a9fe] [::127.0.0.1]
[::ffff:0:127.0.0.1] [64:ff9b::127.0.0.1] [64:ff9b::a9fe:a9fe] [64:ff9b:1::10.0.0.1]
[2002:7f00:1::] [2002:a9fe:a9fe::1] [2001:0:808:808::f5ff:fffe] [2001:0:a00:1::f7f7:f7f7]
[fe80::1] [fe80::1%1] [fd00:ec2::254] [fc00::1] [fec0::1] [ff02::1] [2001:db8::1] [100::1]
localhost localhost. LOCALHOST inside.example INSIDE.Example user:hunter2@127.0.0.1
public.example@127.0.0.1 public.example:80@127.0.0.1
"""
"""Addresses that are not public, and names and URLs that lead to them."""


@pytest.mark.usefixtures("no_connections")
@pytest.mark.parametrize(
    "host", [*LOCAL.split(), "public.example\\@127.0.0.1", "127\u30020\u30020\u30021"]
)
def test_a_private_address_is_refused_in_every_spelling(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, inside=[[PRIVATE]], public=[[PUBLIC]])
    error = refusal(f"http://{host}/products.csv?token=hunter2")
    assert "is not a public address" in error
    assert "LFP_ALLOWED_HOSTS" in error
    assert "hunter2" not in error


@pytest.mark.usefixtures("no_connections")
@pytest.mark.parametrize(
    "host",
    [
        *("0177.0.0.1", "127.0.0.1.1:x", "[::1", "127.0.0.1:80:80"),
        *("\uff11\uff12\uff17.0.0.1", "\u24dbocalhost"),
    ],
)
def test_a_url_without_a_valid_host_is_refused(host: str) -> None:
    assert "not valid" in refusal(f"http://{host}/products.csv")


@pytest.mark.usefixtures("no_connections")
def test_an_invalid_host_name_is_not_resolved() -> None:
    assert "is not a host name" in refusal(f"http://{'a' * 64}.example/products.csv")


@pytest.mark.usefixtures("no_connections")
@pytest.mark.parametrize("url", ["ftp://127.0.0.1/a.csv", "ftp://inside.example:2121/a.csv"])
def test_the_policy_applies_to_file_servers(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, inside=[[PRIVATE]])
    assert "LFP_ALLOWED_HOSTS" in refusal(url)


@pytest.mark.parametrize(
    "host",
    [
        *("8.8.8.8", "134744072", "172.32.0.1", "100.128.0.1", "public.example"),
        *("2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"),
        "2001:0:808:808::f7f7:f7f7",
    ],
)
def test_public_addresses_are_reached(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, public=[[PUBLIC, "2606:4700:4700::1111"]])
    assert NetworkPolicy().addresses(host, 80)


@pytest.mark.parametrize(
    ("entry", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "2130706433"),
        ("127.0.0.1", "localhost"),
        ("127.0.0.1", "::ffff:127.0.0.1"),
        ("127.0.0.0/8", "127.9.9.9"),
        ("10.0.0.0/8", "64:ff9b::10.1.2.3"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("fd00::/8", "fd12::7"),
        ("fe80::/10", "fe80::1%1"),
        ("inside.example", "inside.example"),
        ("Inside.Example.", "inside.example"),
        ("localhost", "localhost."),
    ],
)
def test_allowed_hosts_are_reached(entry: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, inside=[[PRIVATE, "fd00::1"]])
    assert allowing(entry).addresses(host, 80)


@pytest.mark.usefixtures("no_connections")
@pytest.mark.parametrize("host", ["127.0.0.2", "[::1]", "10.0.0.1", "other.example", "a.b.example"])
def test_allowed_hosts_allow_no_other_hosts(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, other=[["10.0.0.1"]], **{"a.b": [["10.0.0.2"]]})
    limits = replace(CLOSED, network_policy=allowing("127.0.0.1", "b.example", "192.168.0.0/16"))
    assert "LFP_ALLOWED_HOSTS" in refusal(f"http://{host}/products.csv", limits)


@pytest.mark.usefixtures("no_connections")
@pytest.mark.parametrize("addresses", [[PUBLIC, PRIVATE], [PRIVATE, PUBLIC], [PUBLIC, "::1"]])
def test_one_refused_address_refuses_the_name(
    addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, mixed=[addresses])
    error = refusal("https://mixed.example/products.csv")
    assert f"mixed.example has the address {(set(addresses) - {PUBLIC}).pop()}," in error


def test_a_name_is_resolved_once_and_sent_to_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    names = resolving(monkeypatch, files=[["127.0.0.1"], ["127.0.0.2"]])
    with serving(content_of(CONTENT)) as server:
        assert fetch(f"http://files.example:{server.port}/products.csv", OPEN) == CONTENT
    assert names.asked == ["files.example"]
    assert server.requests[0]["Host"] == f"files.example:{server.port}"


def test_the_name_of_a_file_server_is_resolved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    names = resolving(monkeypatch, files=[["127.0.0.1"], ["127.0.0.2"]])
    with ftp_serving("a.csv", CONTENT, "20261120081952", []) as (port, _):
        assert fetch(f"ftp://files.example:{port}/a.csv", OPEN) == CONTENT
    assert names.asked == ["files.example"]


def test_a_name_is_checked_again_in_each_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    names = resolving(monkeypatch, files=[["127.0.0.1"], ["127.0.0.2"]])
    with serving(status(302, Location="/there"), content_of(CONTENT)) as server:
        error = refusal(f"http://files.example:{server.port}/products.csv", OPEN)
    assert "files.example has the address 127.0.0.2" in error
    assert len(server.requests) == 1
    assert len(names.asked) == 2


def test_the_next_address_is_tried_when_one_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolving(monkeypatch, files=[["::1", "127.0.0.1"]])
    limits = replace(CLOSED, network_policy=allowing("127.0.0.1", "::1"))
    with serving(content_of(CONTENT)) as server:
        assert fetch(f"http://files.example:{server.port}/products.csv", limits) == CONTENT


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/secret",
        "http://2130706434:{port}/secret",
        "http://[::1]:{port}/secret",
        "http://[::ffff:127.0.0.2]:{port}/secret",
        "//127.0.0.2:{port}/secret",
        "http://inside.example:{port}/secret",
        "http://169.254.169.254/latest/meta-data/",
        "https://metadata.example/computeMetadata/v1/",
    ],
)
def test_a_redirect_cannot_leave_the_network_policy(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, inside=[["127.0.0.2"]], metadata=[["fd00:ec2::254"]])
    with serving(content_of(CONTENT)) as target:
        to = location.format(port=target.port)
        with serving(status(302, Location=to)) as server:
            error = refusal(server.url(), OPEN)
    assert "LFP_ALLOWED_HOSTS" in error
    assert target.requests == []
    assert len(server.requests) == 1


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"])
def test_a_proxy_of_the_environment_is_not_used(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, inside=[[PRIVATE]])
    with serving(content_of(CONTENT)) as proxy:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        assert "LFP_ALLOWED_HOSTS" in refusal("http://inside.example/products.csv", OPEN)
        assert "LFP_ALLOWED_HOSTS" in refusal("https://inside.example/products.csv", OPEN)
    assert proxy.requests == []


def test_tls_verifies_the_name_although_the_connection_uses_an_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate = certificate_for("files.example", tmp_path)
    asked: list[str | None] = []
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    tls.sni_callback = lambda _socket, name, _context: asked.append(name)
    resolving(monkeypatch, files=[["127.0.0.1"]], other=[["127.0.0.1"]])
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(content_of(CONTENT), tls=tls) as server:
        assert fetch(f"https://files.example:{server.port}/products.csv", OPEN) == CONTENT
        with pytest.raises(LandingError, match="certificate verify failed"):
            fetch(f"https://other.example:{server.port}/products.csv", replace(OPEN, attempts=1))
    assert asked == ["files.example", "other.example"]
    assert server.requests[0]["Host"] == f"files.example:{server.port}"


def certificate_for(name: str, folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


# IANA's special-purpose registry of IPv4, without what it says is globally reachable, and what
# clouds have added.
SPECIAL = [
    *map(
        IPv4Network,
        [
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
            *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16"),
            *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4"),
            *("240.0.0.0/4", "168.63.129.16/32"),
        ],
    )
]
ADDRESSES = st.one_of(
    st.sampled_from(SPECIAL).flatmap(
        lambda network: st.sampled_from(
            [
                int(network[0]) - 1 if int(network[0]) else 0,
                int(network[0]),
                int(network[-1]),
                min(int(network[-1]) + 1, 2**32 - 1),
            ]
        )
    ),
    st.integers(0, 2**32 - 1),
)
WRAPPINGS = {
    "as it is": lambda address: str(IPv4Address(address)),
    "mapped": lambda address: str(IPv6Address((0xFFFF << 32) | address)),
    "NAT64": lambda address: str(IPv6Address((0x64FF9B << 96) | address)),
    "6to4": lambda address: str(IPv6Address((0x2002 << 112) | (address << 80) | 1)),
    "Teredo": lambda address: str(
        IPv6Address((0x20010000 << 96) | (0x08080808 << 64) | (address ^ 0xFFFFFFFF))
    ),
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@given(address=ADDRESSES)
def test_an_embedded_ipv4_address_decides_whether_an_address_is_public(
    wrapping: str, address: int
) -> None:
    special = any(IPv4Address(address) in network for network in SPECIAL)
    written = WRAPPINGS[wrapping](address)
    if special:
        with pytest.raises(LandingError, match="LFP_ALLOWED_HOSTS"):
            NetworkPolicy().addresses(written, 80)
    else:
        assert (
            NetworkPolicy().addresses(written, 80) == [str(IPv4Address(address))] or ":" in written
        )
