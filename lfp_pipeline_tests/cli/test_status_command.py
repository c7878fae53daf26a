"""The command `lfp status`."""

import os
import pty
import re
import signal
import subprocess
import sys
import time

from testing.command_line import CommandLine
from testing.dagster_project import HEADER, drop
from testing.engine import LOG
from testing.processes import HOLD_MARK, HOLD_WRITER_LOCK, running, until
from testing.shop import ingest

KEYS = {
    *("data_dir", "now", "problems", "warnings", "pending_files", "still_writing"),
    *("pending_deliveries", "skipped", "ignored", "runs", "writer", "waiting", "unpublished"),
    *("needs_attention", "last_deliveries", "tables", "tables_are_busy", "feed_errors"),
    *("disk_bytes", "free_bytes"),
}


def test_the_status_works_without_a_data_folder(lfp: CommandLine):
    lfp.set(data_dir=lfp.folder / "none" / "yet")
    assert "None: no file has been merged." in lfp("status").out


def test_problems_make_the_exit_code_1(shop: CommandLine):
    assert shop("status").code == 0
    (shop.data / "products.duckdb").write_bytes(b"no database" * 1000)
    ended = shop("status")
    assert ended.code == 1
    assert "is no database. Run `lfp rebuild`." in " ".join(ended.out.split())
    assert shop("status", "--json").code == 1


def test_refused_files_are_no_problem_but_a_script_finds_them(lfp: CommandLine):
    assert lfp.done("status", "--json").json["needs_attention"] == []
    drop(lfp.data / "inbox", "bad.csv", "name,description\nAnn,x\n")
    ingest(lfp.engine)
    found = lfp.done("status", "--json").json
    assert found["problems"] == []
    assert [row["file"] for row in found["needs_attention"]] == ["bad.csv"]
    lfp.done("dismiss", "bad.csv")
    assert lfp.done("status", "--json").json["needs_attention"] == []


def test_wrong_settings_are_an_error(lfp: CommandLine):
    lfp.set(publish_time_share=2)
    ended = lfp("status")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("Wrong settings:\n  LFP_PUBLISH_TIME_SHARE")


def test_lines_fit_into_100_characters(shop: CommandLine):
    text = shop.done("status").out
    assert "bad.csv#19700101T000001 was refused: The header has no column sku." in text
    assert "my shop ä.csv#19700101T000001  merged" in text
    assert text.count("has no column sku") == 1
    assert max(map(len, text.splitlines())) <= 100


def test_the_json_of_an_empty_project_has_the_same_keys(lfp: CommandLine):
    empty = lfp.done("status", "--json").json
    assert (set(empty), empty["tables"]) == (KEYS, None)


def test_the_whole_status_is_json_with_these_keys(shop: CommandLine):
    drop(shop.data / "inbox", "new.csv", f"{HEADER}n,New,\n")
    (shop.data / "inbox" / "link").symlink_to(shop.data)
    (shop.data / "inbox" / "x.tmp").touch()
    mark, database = shop.data / "work" / "runs" / "0123.run", shop.data / "products.duckdb"
    with running(HOLD_MARK, mark), running(HOLD_WRITER_LOCK, database):
        mark.write_text("ingest_products a.csv")
        found = shop.done("status", "--json").json
    assert set(found) == KEYS
    assert found["pending_files"] == [{"file": "new.csv", "size_bytes": 28}]
    assert found["skipped"] == [{"name": "link", "reason": "a link"}]
    assert found["ignored"] == ["x.tmp"]
    assert [(run["run_id"], run["job"]) for run in found["runs"]] == [
        ("0123", "ingest_products a.csv")
    ]
    assert found["writer"]["purpose"] == "merging a.csv"
    (refused,) = found["needs_attention"]
    assert (refused["file"], refused["status"], refused["is_retried"]) == (
        "bad.csv",
        "refused",
        True,
    )
    assert [row["file"] for row in found["last_deliveries"]] == [
        *("fruit.csv", "bad.csv", "my shop ä.csv", "fruit.csv")
    ]
    tables = found["tables"]
    assert (tables["source"], tables["is_stale"]) == ("the published copy", False)
    assert tables["rows"] == {"products": 22, "names": 3, "deliveries": 4, "rejected_rows": 1}
    assert tables["rejects_to_fix"] == 0
    assert set(found["disk_bytes"]) == {"database", "published_copy", "raw_zone"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", found["now"])


def test_unpublished_and_pending_deliveries_are_json(shop: CommandLine):
    drop(shop.data / "inbox", "new file.csv", f"{HEADER}n,New,\n")
    ingest(shop.engine, publish=False)
    path = shop.data / "elsewhere.csv"
    path.write_text(f"{HEADER}l-1,Landed,\n")
    engine = shop.engine
    delivery = engine.land(engine.catalog.source_at(str(path)), "landed.csv", LOG)
    found = shop.done("status", "--json").json
    refused, unpublished = found["unpublished"]
    assert (refused["status"], unpublished["status"]) == ("refused", "merged")
    assert unpublished["delivery_id"].startswith("new_file.csv-")
    assert found["pending_deliveries"] == [
        {"delivery_id": delivery.delivery_id, "file": "landed.csv"}
    ]
    assert "1 merged: new file.csv#19700101T000001" in shop.done("status").out


COMMAND = [sys.executable, "-c", "from lfp_pipeline.cli.main import main; main()", "status"]


def test_watching_prints_blocks_until_ctrl_c(lfp: CommandLine):
    with subprocess.Popen(
        [*COMMAND, "--watch", "0.1"], cwd=lfp.folder, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        blocks = 0
        for line in process.stdout:
            blocks += line.startswith(f"{lfp.data}, ")
            if blocks == 2:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 0
    assert "\x1b" not in rest


def test_watching_refreshes_a_terminal(shop: CommandLine):
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    process = subprocess.Popen(
        [*COMMAND, "--watch", "0.1"], cwd=shop.folder, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""

    def read() -> bytes:
        nonlocal shown
        try:
            shown += os.read(ours, 1 << 16)
        except BlockingIOError:
            time.sleep(0.05)
        return shown

    until(lambda: read().count(b"\x1b[H") >= 2)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    screens = shown.decode().split("\x1b[H")[1:]
    assert str(shop.data) in screens[0]
    assert "more lines" in screens[0]  # The terminal has 24 lines.
    assert len(screens[0].splitlines()) <= 24
    os.close(ours)


def test_watching_prints_no_json(lfp: CommandLine):
    ended = lfp("status", "--watch", "--json")
    assert (ended.code, ended.out) == (2, "")
