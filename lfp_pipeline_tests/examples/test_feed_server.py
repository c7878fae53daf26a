"""The feed server as a process: its answers to clients, people and hostile pages."""

import base64
import csv
import hashlib
import io
import os
import re
import signal
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from examples.processes import Feed, feed_server

HEADER = ["sku", "name", "description"]
ROWS = [["s1", "Ann", "x"], ["s2", "Bob", 'two\nlines, "quoted"'], ["s3", "Zoë", ""]]
LONG_AGO = 1_000_000_000
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # Making a context takes longer than a request.
HOSTILE = """</textarea></title><script>alert("x" + 'y')</script>&amp;"""


def text_of(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([HEADER, *rows])
    return text.getvalue().encode()


def rows_of(content: bytes) -> list[list[str]]:
    header, *rows = csv.reader(io.StringIO(content.decode(), newline=""))
    assert header == HEADER
    return rows


def write(path: Path, content: bytes, seconds: int = LONG_AGO) -> None:
    path.write_bytes(content)
    os.utime(path, (seconds, seconds))


@pytest.fixture(scope="module")
def feed_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Feed]:
    with feed_server(tmp_path_factory.mktemp("feed"), "Shop & Co") as feed:
        yield feed


@pytest.fixture
def file(feed_of_all: Feed) -> Path:
    """Return the product file of a feed that was never polled."""
    for path in feed_of_all.log.parent.iterdir():
        if path != feed_of_all.log:
            path.unlink()
    path = feed_of_all.log.with_name("products.csv")
    write(path, text_of(ROWS))
    return path


@pytest.fixture
def feed(feed_of_all: Feed, file: Path) -> Feed:
    assert file.exists()
    return feed_of_all


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a product file, for a feed of its own."""
    write(tmp_path / "products.csv", text_of(ROWS))
    return tmp_path


def get(feed: Feed, path: str, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.get(feed.url + path, headers=named, timeout=20, verify=NO_TLS)


def changed(feed: Feed) -> bool:
    answer: bool = get(feed, "/sense").json()["changed"]
    return answer


def post(feed: Feed, form: dict[str, str], headers: dict[str, str] | None = None) -> httpx.Response:
    given = {"Origin": feed.url} if headers is None else headers
    return httpx.post(f"{feed.url}/update", data=form, headers=given, timeout=20, verify=NO_TLS)


FORM = {"sku": "s1", "name": "Eve", "description": "new"}


# Start and end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_server_ends_cleanly(folder: Path, number: int) -> None:
    with feed_server(folder, "ends") as feed:
        assert changed(feed)
        feed.process.send_signal(number)
        assert feed.process.wait(timeout=10) == 0
        assert "Traceback" not in feed.log.read_text()


def test_an_empty_folder_gets_an_empty_file(tmp_path: Path) -> None:
    with feed_server(tmp_path, "new") as feed:
        assert rows_of(get(feed, "/read").content) == []
        feed.change("s1", "Ann", "x")
        assert rows_of(get(feed, "/read").content) == [["s1", "Ann", "x"]]


def test_the_server_listens_on_the_loopback(feed: Feed) -> None:
    assert feed.url.startswith("http://127.0.0.1:")


# Polls


def test_a_change_is_reported_once(feed: Feed, file: Path) -> None:
    assert [changed(feed), changed(feed)] == [True, False]
    feed.change("s1", "Eve", "")
    assert [changed(feed), changed(feed)] == [True, False]
    write(file, text_of(ROWS[:1]))
    assert [changed(feed), changed(feed)] == [True, False]
    os.utime(file)
    assert [changed(feed), changed(feed)] == [True, False]
    write(file.with_name("newer.csv"), text_of(ROWS), seconds=int(time.time()) + 1)
    assert [changed(feed), changed(feed)] == [True, False]


def test_a_reported_change_is_not_reported_after_a_restart(folder: Path) -> None:
    with feed_server(folder, "first") as feed:
        assert changed(feed)
        feed.process.kill()
    with feed_server(folder, "again") as feed:
        assert not changed(feed)


def test_a_change_before_the_start_is_reported(folder: Path) -> None:
    with feed_server(folder, "first") as feed:
        assert changed(feed)
    write(folder / "products.csv", text_of(ROWS[:2]))
    with feed_server(folder, "again") as feed:
        assert changed(feed)


def test_one_of_many_polls_gets_the_change(feed: Feed) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: changed(feed), range(16)))
    assert sorted(answers) == [False] * 15 + [True]


def test_a_missing_file_is_an_error_not_a_change(feed: Feed, file: Path) -> None:
    file.unlink()
    for path in ("/sense", "/read", "/"):
        assert get(feed, path).status_code == 503
    assert post(feed, FORM).status_code == 409
    write(file, text_of(ROWS))
    assert changed(feed)


# Reading


def test_a_read_has_validators(feed: Feed, file: Path) -> None:
    answer = get(feed, "/read")
    assert answer.content == file.read_bytes()
    assert answer.headers["Content-Length"] == str(file.stat().st_size)
    assert answer.headers["Last-Modified"] == "Sun, 09 Sep 2001 01:46:40 GMT"
    assert re.fullmatch(r'"[^"]+"', answer.headers["ETag"])
    assert get(feed, "/read").headers["ETag"] == answer.headers["ETag"]


def test_a_known_version_is_not_sent_again(feed: Feed) -> None:
    first = get(feed, "/read").headers
    for tags in (first["ETag"], f'"other", W/{first["ETag"]}', "*"):
        answer = get(feed, "/read", If_None_Match=tags)
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["ETag"] == first["ETag"]
    since = first["Last-Modified"]
    assert get(feed, "/read", If_Modified_Since=since).status_code == 304
    assert get(feed, "/read", If_Modified_Since="yesterday").status_code == 200
    assert get(feed, "/read", If_Modified_Since=since, If_None_Match='"other"').status_code == 200
    feed.change("s1", "Eve", "")
    assert get(feed, "/read", If_None_Match=first["ETag"]).status_code == 200
    assert get(feed, "/read", If_Modified_Since=since).status_code == 200


SIZE = len(text_of(ROWS))


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-", 0, SIZE),
        ("bytes=5-", 5, SIZE),
        ("bytes=5-9", 5, 10),
        (f"bytes=5-{10**17}", 5, SIZE),
        ("bytes=-4", SIZE - 4, SIZE),
        (f"bytes=-{10**17}", 0, SIZE),
        (f"bytes={SIZE}-", 0, 0),
        ("bytes=-0", 0, 0),
    ],
)
def test_a_range_gives_its_bytes(feed: Feed, file: Path, asked: str, start: int, stop: int) -> None:
    answer = get(feed, "/read", Range=asked)
    if start == stop:
        assert answer.status_code == 416
        assert answer.headers["Content-Range"] == f"bytes */{SIZE}"
    else:
        assert answer.status_code == 206
        assert answer.content == file.read_bytes()[start:stop]
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{SIZE}"
        assert answer.headers["Content-Length"] == str(stop - start)


@pytest.mark.parametrize("asked", ["bytes=5-4", "bytes=-", "bytes=0-1,3-4", "lines=1-", "bytes=a-"])
def test_an_invalid_range_gives_all_bytes(feed: Feed, file: Path, asked: str) -> None:
    answer = get(feed, "/read", Range=asked)
    assert (answer.status_code, answer.content) == (200, file.read_bytes())


def test_a_range_of_another_version_gives_all_bytes(feed: Feed) -> None:
    first = get(feed, "/read").headers
    for name in ("ETag", "Last-Modified"):
        assert get(feed, "/read", Range="bytes=5-", If_Range=first[name]).status_code == 206
    feed.change("s1", "Eve", "")
    for name in ("ETag", "Last-Modified"):
        assert get(feed, "/read", Range="bytes=5-", If_Range=first[name]).status_code == 200


def test_two_versions_that_were_read_differ_in_last_modified(feed: Feed) -> None:
    times = []
    for name in ("one", "two"):
        feed.change("s1", name, "")
        times.append(get(feed, "/read").headers["Last-Modified"])
    assert len(set(times)) == 2


def test_a_change_of_a_file_from_the_future_is_newer(feed: Feed, file: Path) -> None:
    write(file, text_of(ROWS), seconds=int(time.time()) + 1_000_000)
    future = get(feed, "/read").headers
    assert get(feed, "/read", If_Modified_Since=future["Date"]).status_code == 304
    time.sleep(1)
    feed.change("s1", "Eve", "")
    assert get(feed, "/read", If_Modified_Since=future["Last-Modified"]).status_code == 200


# Faults


def test_the_first_reads_break_and_can_be_resumed(folder: Path) -> None:
    with feed_server(folder, "bad", "--cut-after", 10, "--cuts", 2) as feed:
        assert changed(feed)
        received = b""
        headers: dict[str, str] = {}
        for _ in range(2):
            with (
                suppress(httpx.RemoteProtocolError),
                httpx.stream("GET", f"{feed.url}/read", headers=headers) as answer,
            ):
                for chunk in answer.iter_raw():
                    received += chunk
            assert not changed(feed)
            headers = {"Range": f"bytes={len(received)}-", "If-Range": answer.headers["ETag"]}
        assert len(received) == 20
        rest = get(feed, "/read", **headers)
        assert rest.status_code == 206
        assert received + rest.content == text_of(ROWS)


def test_a_slow_read_gets_one_version_though_the_file_changes(tmp_path: Path) -> None:
    content = text_of([[f"s{number}", "Ann", "x" * 50] for number in range(1_000)])
    write(tmp_path / "products.csv", content)
    with feed_server(tmp_path, "slow", "--slow", len(content)) as feed:
        begun = time.monotonic()
        with httpx.stream("GET", f"{feed.url}/read") as answer:
            feed.change("s1", "Eve", "new")
            assert answer.read() == content
        assert time.monotonic() - begun > 0.9
    assert [row for row in rows_of((tmp_path / "products.csv").read_bytes()) if row[1] == "Eve"]


# Updates


@pytest.mark.parametrize(
    ("form", "rows", "done"),
    [
        (FORM, [["s1", "Eve", "new"], *ROWS[1:]], "s1 has been changed."),
        (FORM | {"sku": " s9 "}, [*ROWS, ["s9", "Eve", "new"]], "s9 has been added."),
        (FORM | {"description": ""}, [["s1", "Eve", ""], *ROWS[1:]], "s1 has been changed."),
        (
            {"sku": "ß,1", "name": 'Zoë "Z"', "description": " a\r\nb "},
            [*ROWS, ["ß,1", 'Zoë "Z"', " a\nb "]],
            "ß,1 has been added.",
        ),
    ],
)
def test_an_update_changes_the_file(
    feed: Feed, file: Path, form: dict[str, str], rows: list[list[str]], done: str
) -> None:
    answer = post(feed, form)
    assert answer.status_code == 303
    assert rows_of(file.read_bytes()) == rows
    page = get(feed, answer.headers["Location"])
    assert f'<p role="status">{done}</p>' in page.text
    assert sorted(path.name for path in file.parent.iterdir()) == ["products.csv", "server.log"]


def test_an_update_changes_nothing_else(feed: Feed, file: Path) -> None:
    before = [
        b"Name,price, SKU ,description",
        b"Ann,1,s1,x",
        b"Caf\xe9,2,s2,caf\xe9",
        b"",
        b"too,short",
        b'"two\nlines",3, s1 ,"a ""b"""',
        b"one,4,s4,x,more",
    ]
    write(file, b"\xef\xbb\xbf" + b"\r\n".join(before))
    feed.change("s1", "Eve", "new")
    after = before[:]
    after[1] = b"Eve,1,s1,new"
    after[5] = b"Eve,3,s1,new"
    assert file.read_bytes() == b"\r\n".join([*after, b""])
    feed.change("s5", "Bob", "")
    assert file.read_bytes() == b"\r\n".join([*after, b"Bob,,s5,", b""])


@pytest.mark.parametrize(
    "content", [b"", b"a,b\n1,2\n", b"sku,name,description\n" + b"x" * 200_000 + b",y,z\n"]
)
def test_a_file_that_is_no_product_file_is_not_changed(
    feed: Feed, file: Path, content: bytes
) -> None:
    write(file, content)
    assert post(feed, FORM).status_code == 409
    assert file.read_bytes() == content
    assert get(feed, "/").status_code == 503
    assert get(feed, "/read").content == content


@pytest.mark.parametrize(
    ("form", "why"),
    [
        (FORM | {"sku": " "}, "The sku is missing."),
        (FORM | {"name": ""}, "The name is missing."),
        ({"sku": "s1"}, "The name is missing."),
        (FORM | {"sku": "s" * 201}, "The sku has more than 200 characters."),
        (FORM | {"name": "a\0b"}, "The name has control characters in it."),
        (
            FORM | {"description": "x" * 100_001},
            "The description has more than 100,000 characters.",
        ),
        (FORM | {"more": "1"}, "The form could not be read."),
        ({"sku": "%ff"}, "The name is missing."),
    ],
)
def test_an_invalid_product_is_refused_with_the_reason(
    feed: Feed, file: Path, form: dict[str, str], why: str
) -> None:
    answer = post(feed, form)
    assert answer.status_code == 422
    assert f'<p role="alert">{why}</p>' in answer.text
    assert file.read_bytes() == text_of(ROWS)


def test_a_refused_form_keeps_what_was_typed(feed: Feed) -> None:
    answer = post(feed, FORM | {"name": "", "description": HOSTILE})
    assert Page(answer.text).fields == {"sku": "s1", "name": "", "description": HOSTILE, "q": ""}


TYPE = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {}, 404),
        ("/update", {"Content-Type": "text/plain"}, 415),
        ("/update", {"Content-Type": TYPE}, 411),
        ("/update", {"Content-Type": TYPE, "Content-Length": "-1"}, 411),
        ("/update", {"Content-Type": TYPE, "Transfer-Encoding": "chunked"}, 411),
        ("/update", {"Content-Type": TYPE, "Content-Length": str(2**20 + 1)}, 413),
        ("/update", {"Content-Type": TYPE, "Content-Length": "9" * 5_000}, 411),
    ],
)
def test_an_invalid_request_is_refused_before_its_body_is_read(
    feed: Feed, path: str, headers: dict[str, str], status: int
) -> None:
    given = {"Host": feed.url.removeprefix("http://"), "Origin": feed.url, **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    answer = raw(feed, "\r\n".join([*lines, "", "GET /sense HTTP/1.1", "", ""]))
    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert answer.count("HTTP/1.1 ") == 1
    assert changed(feed)


def raw(feed: Feed, request: str, *, is_cut_off: bool = False) -> str:
    """Send a request as it is; return all that the server sends until it hangs up."""
    url = httpx.URL(feed.url)
    assert url.port
    with socket.create_connection((url.host, url.port), timeout=10) as connection:
        connection.sendall(request.encode())
        if is_cut_off:
            connection.shutdown(socket.SHUT_WR)
        with connection.makefile(encoding="utf-8", newline="") as answer:
            return answer.read()


def test_an_incomplete_form_changes_nothing(feed: Feed, file: Path) -> None:
    body = "sku=s1&name=Eve"
    lines = [
        "POST /update HTTP/1.1",
        f"Host: {feed.url.removeprefix('http://')}",
        f"Origin: {feed.url}",
        f"Content-Type: {TYPE}",
        f"Content-Length: {len(body) + 5}",
    ]
    assert raw(feed, "\r\n".join([*lines, "", body]), is_cut_off=True) == ""
    assert file.read_bytes() == text_of(ROWS)


# Other sites


ELSEWHERE = "https://elsewhere.example"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": ELSEWHERE},
        {"Origin": ELSEWHERE, "Sec-Fetch-Site": "same-origin"},
        {"Origin": "{own}", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "{own}", "Sec-Fetch-Site": "same-site"},
        {"Origin": "{own}0"},
        {"Origin": "http://bent.example", "Host": "bent.example", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://[", "Host": "["},
    ],
)
def test_only_the_own_page_may_change_products(
    feed: Feed, file: Path, headers: dict[str, str]
) -> None:
    given = {name: value.replace("{own}", feed.url) for name, value in headers.items()}
    assert post(feed, FORM, given).status_code == 403
    assert file.read_bytes() == text_of(ROWS)


def test_a_page_of_another_site_cannot_poll(feed: Feed) -> None:
    for site in ("cross-site", "same-site"):
        assert get(feed, "/sense", Sec_Fetch_Site=site).status_code == 403
    assert get(feed, "/sense", Sec_Fetch_Site="none").json() == {"changed": True}


def test_the_own_page_may_change_products_under_both_of_its_names(feed: Feed, file: Path) -> None:
    port = httpx.URL(feed.url).port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
        headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        assert post(feed, FORM | {"name": host}, headers).status_code == 303
        assert rows_of(file.read_bytes())[0][1] == host


# The page


class Page(HTMLParser):
    """A parsed page: its elements, texts, links and fields."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags = [""]
        self.fields: dict[str, str] = {}
        self.labels: set[str] = set()
        self.links: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        match tag:
            case "input":
                self.fields[named["name"]] = named.get("value", "")
            case "textarea":
                self.fields[named["name"]] = ""
            case "label":
                self.labels.add(named["for"])
            case "a":
                self.links.append(named["href"])

    def handle_data(self, data: str) -> None:
        tag = self.tags[-1]
        if tag == "textarea" and not self.fields["description"]:
            self.fields["description"] = data.removeprefix("\n")  # As browsers do.
        self.texts.setdefault(tag, []).append(data.strip())


def test_all_input_is_escaped(folder: Path) -> None:
    write(folder / "products.csv", text_of([[HOSTILE, HOSTILE, HOSTILE]]))
    with feed_server(folder, HOSTILE) as feed:
        page = Page(get(feed, "/").text)
        (edit,) = page.links
        for html in (
            get(feed, edit).text,
            get(feed, "/?" + urlencode({"q": HOSTILE, "sku": HOSTILE, "done": "changed"})).text,
        ):
            page = Page(html)
            assert "script" not in page.tags
            assert page.texts["title"][0] == page.texts["h1"][0] == HOSTILE
            assert [page.fields[name] for name in HEADER] == [HOSTILE] * 3
            assert page.texts["td"][0] == HOSTILE
        assert page.fields["q"] == HOSTILE


def test_the_policy_forbids_loading_from_other_sites(feed: Feed) -> None:
    answer = get(feed, "/")
    policy = dict(
        part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; ")
    )
    (style,) = re.findall("<style>(.*)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["style-src"] == f"'sha256-{digest}'"
    assert policy["form-action"] == "'self'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_every_field_has_a_label(feed: Feed) -> None:
    page = Page(get(feed, "/").text)
    assert page.labels == page.fields.keys() == {"sku", "name", "description", "q"}


def test_products_are_found_and_shown_in_pages(feed: Feed, file: Path) -> None:
    write(file, text_of([[f"s{number}", f"Name {number % 2}", ""] for number in range(90)]))
    seen = []
    path = "/?q=NAME+1"
    for number in (1, 2, 3):
        page = Page(get(feed, path).text)
        skus = [link.partition("sku=")[2] for link in page.links if "sku=" in link]
        others = [link for link in page.links if "sku=" not in link]
        assert len(others) == (2 if number == 2 else 1)
        seen += skus
        path = others[-1]
    assert seen == [f"s{number}" for number in range(1, 90, 2)]
    assert "None found." in get(feed, "/?q=nothing&page=-1").text


# Load


def test_concurrent_changes_and_reads_lose_and_tear_nothing(feed: Feed, file: Path) -> None:
    rows = [[f"p{number}", "Ann", "x" * 100] for number in range(2_000)]
    write(file, text_of(rows))

    def change(number: int) -> None:
        feed.change(f"p{number}", f"new {number}", "")
        feed.change(f"q{number}", "added", "")

    def read(_: int) -> tuple[str, str, list[list[str]]]:
        answer = get(feed, "/read")
        return answer.headers["ETag"], answer.headers["Last-Modified"], rows_of(answer.content)

    with ThreadPoolExecutor(12) as pool:
        changes = [pool.submit(change, number) for number in range(8)]
        reads = list(pool.map(read, range(4)))
        for done in changes:
            done.result()
    last = read(0)
    assert sorted(last[2]) == sorted(
        [[f"p{number}", f"new {number}", ""] for number in range(8)]
        + [[f"q{number}", "added", ""] for number in range(8)]
        + rows[8:]
    )
    versions: dict[str, list[list[str]]] = {}
    for etag, modified, found in [*reads, last]:
        assert 2_000 <= len(found) <= 2_008
        assert versions.setdefault(etag, found) == versions.setdefault(modified, found) == found


def memory_bytes(feed: Feed) -> int:
    status = Path(f"/proc/{feed.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux' /proc")
def test_a_large_file_stays_out_of_memory(tmp_path: Path) -> None:
    file = tmp_path / "products.csv"
    with file.open("wb") as large:
        large.write(text_of([]))
        for number in range(2_000):
            large.write(b"s%d,Ann,%s\r\n" % (number, b"x" * 10_000))
    with feed_server(tmp_path, "large") as feed:
        before = memory_bytes(feed)
        feed.change("s1999", "Eve", "")
        get(feed, "/?q=s19").raise_for_status()
        with httpx.stream("GET", f"{feed.url}/read") as answer:
            size = sum(map(len, answer.iter_raw()))
        assert size == file.stat().st_size > 20_000_000
        assert memory_bytes(feed) - before < 4_000_000
