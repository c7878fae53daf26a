"""Texts of files, file names and servers, as the UI, a terminal and a chat show them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from lfp_pipeline.common.text import visible
from lfp_pipeline.operations.status import collect_status
from lfp_pipeline.operations.status_text import render_status
from testing.dagster_project import Project, drop, project_in
from testing.http_server import serving
from testing.shell import Shell, job
from testing.webhook import webhook

EVIL = "\x1b[31m<img src=x onerror=alert(1)>\n```\n# **[a](http://b)** <!channel>\u202e\x9b2J"
INVISIBLE = ("\x1b", "\x9b", "\u202e", "\r", "\0")

PICTURE = re.compile(r"!\[[a-z, ]+\]\(data:image/svg\+xml,[A-Za-z0-9%/:;=,.'_~-]+\)")

NO_SKU = f'name,description,"{EVIL}"\nAnn,x,y\n'
REJECTS = (
    "sku,name,description\n" + "".join(f's{i},Ann,"{EVIL}"\n' for i in range(99)) + EVIL + "\n"
)


def shown(project: Project, run: dg.ExecuteInProcessResult) -> str:
    """Return everything that a run shows in the UI; assert that none of it is Markdown."""
    logs = project.instance.all_logs(run.run_id)
    stored = "".join(map(dg.serialize_value, logs))
    texts = json.loads("[" + ",".join(map(dg.serialize_value, logs)) + "]")
    for markdown in _markdown(texts):  # Pictures only, whose texts are escaped twice.
        assert PICTURE.fullmatch(markdown), markdown
    for text in _strings(texts):
        assert not [mark for mark in INVISIBLE if mark in text], text
    return stored


def _markdown(value: object) -> Iterator[str]:
    """Yield the Markdown in serialized events."""
    if isinstance(value, dict) and value.get("__class__") == "MarkdownMetadataEntryData":
        yield value["md_str"]
    parts = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list):
        for part in parts:  # type: ignore[attr-defined]
            yield from _markdown(part)


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts = [*value, *value.values()] if isinstance(value, dict) else value
    return [text for part in parts for text in _strings(part)] if isinstance(parts, list) else []


def test_texts_of_refused_files_are_no_markup_in_the_ui(project: Project) -> None:
    drop(project.inbox, f"{EVIL.replace('/', '')}.csv", NO_SKU)
    for run in (project.run("ingest_inbox"), project.run("status")):
        assert "has no column sku" in shown(project, run)
    assert "\\\\x1b[31m" in shown(project, run)


def test_texts_of_merged_files_are_no_markup_in_the_ui(tmp_path: Path, home: Path) -> None:
    with project_in(tmp_path, home, max_reject_share=1) as project:
        drop(project.inbox, "a.csv", f"{EVIL.replace(chr(10), ' ')}\n{REJECTS}")
        run = project.run("ingest_inbox")
        assert run.success
        text = shown(project, run)
        assert "sample_of_rejects" in text
        assert "\\\\x1b[31m" in text
        for operation in ("rebuild_products", "verify", "export_tables", "publish_tables"):
            assert shown(project, project.run(operation))
        status = render_status(collect_status(project.engine))
        assert not [mark for mark in INVISIBLE if mark in status]


def test_texts_of_servers_are_no_markup_in_the_ui(tmp_path: Path, home: Path) -> None:
    with (
        project_in(tmp_path, home, allowed_hosts="127.0.0.1") as project,
        serving(lambda exchange: exchange.head(404, Content_Length=0)) as server,
    ):
        run = project.ingest("mine", source=server.url("/\x1b[31m%1b.csv"))
        shown(project, run)
        run = project.ingest("mine", source=f"{tmp_path}/{EVIL}")
        assert "\\\\x1b[31m" in shown(project, run)


def test_the_terminal_gets_no_control_characters(shell: Shell) -> None:
    drop(shell.data / "inbox", f"{EVIL.replace('/', '')}.csv", NO_SKU)
    code, output = shell.run(*job("ingest_inbox"))
    assert code != 0
    assert "has no column sku" in output
    outputs = [output, *(shell.run("lfp_pipeline", name)[1] for name in ("status", "deliveries"))]
    assert not [mark for mark in INVISIBLE for text in outputs if mark in text]


def test_the_terminal_shows_the_lines_of_an_error() -> None:
    assert visible("a\x1b\nb\r") == "a\\x1b\nb\\r"


def test_a_chat_gets_the_error_as_a_block_of_code_that_the_error_cannot_end(
    tmp_path: Path, home: Path
) -> None:
    with webhook(tmp_path, home) as chat:
        drop(chat.project.inbox, "bad.csv", NO_SKU)
        chat.project.ingest("bad.csv")
        chat.tick()
        (message,) = chat.posted
    before, text, after = message["text"].split("```")
    assert (before.startswith("ingest_products (bad.csv) failed on "), after) == (True, "")
    assert "has no column sku" in text
    assert not set("<>`\x1b") & set(text)
    assert "<!channel>" in message["error"]
