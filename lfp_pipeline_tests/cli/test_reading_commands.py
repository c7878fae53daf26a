"""The commands that read: deliveries, show, search, names and rejects, on real files."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from pydantic import SecretStr
from rich.cells import cell_len

from lfp_pipeline.cli import rejects
from lfp_pipeline.common.text import short_name
from lfp_pipeline.model.delivery import label_of
from lfp_pipeline.operations.export_rejects import RejectsFile
from lfp_pipeline.operations.find_delivery import find_delivery
from lfp_pipeline.operations.prune import prune_raw
from lfp_pipeline.operations.purge import Selection, purge_products
from lfp_pipeline.settings import Settings
from testing.command_line import CommandLine
from testing.dagster_project import HEADER, drop
from testing.engine import LOG
from testing.processes import HOLD_DATABASE, HOLD_MARK, PROJECT, running
from testing.shop import ingest

READING = [["search", "x"], ["names"], ["show", "x"], ["query", "FROM products"]]


@pytest.mark.parametrize("command", READING, ids=lambda command: command[0])
def test_without_tables_the_message_says_what_to_do(lfp: CommandLine, command: list[str]):
    ended = lfp(*command)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "There are no tables yet: no file has been merged. Run `lfp ingest`.\n"


@pytest.mark.parametrize("command", READING, ids=lambda command: command[0])
def test_without_a_copy_a_database_that_is_being_written_is_busy(
    lfp: CommandLine, command: list[str]
):
    lfp.set(publish_time_share=0)
    drop(lfp.data / "inbox", "a.csv", f"{HEADER}x,Ann,\n")
    ingest(lfp.engine)
    assert lfp(*command).code == 0
    with running(HOLD_DATABASE, lfp.data / "products.duckdb"):
        ended = lfp(*command)
    assert ended.code == 5
    assert "`lfp publish` makes a copy" in ended.err
    assert len(ended.err.splitlines()) <= 3


def test_the_copy_is_read_while_the_database_is_being_written(shop: CommandLine):
    with running(HOLD_DATABASE, shop.data / "products.duckdb"):
        for command in READING[:2]:
            assert shop.done(*command, "--json").json
        assert shop.done("deliveries", "--json").json


def test_a_message_says_of_when_the_tables_are_and_whether_they_have_changed(shop: CommandLine):
    fresh = shop.done("names").err
    assert re.fullmatch(r"The tables are as of [\d-]{10} [\d:]{8} UTC, from .*copy\.\n", fresh)
    drop(shop.data / "inbox", "new.csv", f"{HEADER}n-1,New,\n")
    ingest(shop.engine, publish=False)
    stale = shop.done("names").err
    assert "from the published copy, and have changed since: `lfp publish` publishes them" in stale


def test_a_copy_of_an_earlier_version_is_explained(shop: CommandLine):
    copy = shop.data / "published" / "products.duckdb"
    copy.chmod(0o644)
    with duckdb.connect(copy) as connection:
        connection.execute("DROP TABLE name_counts")
    ended = shop("names")
    assert ended.code == 1
    assert "An earlier version of this program wrote the tables" in ended.err


def test_a_damaged_copy_is_explained(shop: CommandLine):
    copy = shop.data / "published" / "products.duckdb"
    copy.chmod(0o644)
    copy.write_bytes(b"no database" * 1000)
    ended = shop("names")
    assert ended.code == 1
    assert ended.err.startswith("The published copy cannot be read: ")


def test_deliveries_are_listed_with_their_rows_those_that_ended_last_first(stocked: CommandLine):
    found = stocked.done("deliveries", "--json").json
    assert [(row["file"], row["status"]) for row in found] == [
        ("fruit.csv", "merged"),
        ("bad.csv", "refused"),
        ("my shop ä.csv", "merged"),
        ("fruit.csv", "merged"),
    ]
    newest = found[0]
    assert newest["delivery_id"].startswith("fruit.csv#19700101T000002.000000Z#")
    assert newest["delivered_at"] == "1970-01-01T00:00:02Z"
    assert newest["rows"]["read"] == newest["rows"]["updated"] + newest["rows"]["unchanged"] == 20
    assert found[3]["rows"]["rejected"] == 1
    assert found[1]["rows"] is None
    assert "no column sku" in found[1]["error"]
    lines = stocked.done("deliveries").out.splitlines()
    assert lines[0].split() == ["delivery", "status", "merged", "seconds", "rows", "of", "these"]
    assert lines[1].split()[6:] == ["1", "updated,", "19", "unchanged"]
    assert lines[2].split() == [lines[2].split()[0], "refused"]
    assert lines[3].startswith("my shop ä.csv#")
    assert max(map(len, lines)) <= 100


def test_a_long_name_of_a_delivery_is_whole_in_its_line_and_finds_it(lfp: CommandLine):
    name = f"商品 {'of a very long name ' * 9}.csv"
    rows = "".join(f"s-{number},Ann,\n" for number in range(20))
    drop(lfp.data / "inbox", name, f"{HEADER}{rows},-Lamp,x\n")
    drop(lfp.data / "inbox", f"bad {name}", "name,description\nAnn,x\n")
    ingest(lfp.engine)
    lines = lfp.done("deliveries").out.splitlines()
    (line,) = [line for line in lines if line.startswith("商品")]
    assert line.startswith(name)
    assert find_delivery(lfp.engine, line)
    (path, *_) = lfp.done("rejects", line).out.splitlines()
    assert lfp.folder.joinpath(path).exists()
    drop(lfp.data / "inbox", f"pending {name}", HEADER)
    (lfp.data / "inbox" / f"link {name}").symlink_to(lfp.data)
    (lfp.data / "inbox" / f"{name}.tmp").touch()
    mark = lfp.data / "work" / "runs" / "0123.run"
    with running(HOLD_MARK, mark):
        mark.write_text(f"ingest_products {name}")
        status = lfp.done("status").out
    assert f"{short_name(f'pending {name}')} (0.0 KB)" in " ".join(status.split())
    for text in (status, "\n".join(lines)):
        too_long = [line for line in text.splitlines() if cell_len(line) > 100]
        assert all(name in line and line.strip().count(".csv") == 1 for line in too_long)


def test_the_short_name_of_a_delivery_finds_the_delivery(stocked: CommandLine):
    rows = stocked.done("deliveries", "--json").json
    lines = stocked.done("deliveries").out.splitlines()[1:5]
    for row, line in zip(rows, lines, strict=True):
        name = re.split(r"  +", line)[0]
        assert find_delivery(stocked.engine, name).delivery_id == row["delivery_id"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["fruit.csv"], ["fruit.csv"] * 2),
        (["my shop ä.csv"], ["my shop ä.csv"]),
        (["--status", "refused"], ["bad.csv"]),
        (["--status", "merged", "--limit", "1"], ["fruit.csv"]),
        (["fruit.csv", "--status", "reverted"], []),
    ],
)
def test_deliveries_are_chosen_by_file_status_and_number(
    stocked: CommandLine, arguments: list[str], expected: list[str]
):
    found = stocked.done("deliveries", *arguments, "--json").json
    assert [row["file"] for row in found] == expected


def test_more_deliveries_than_shown_are_mentioned(stocked: CommandLine):
    assert "There are more" in stocked.done("deliveries", "--limit", "3").err
    assert "There are more" not in stocked.done("deliveries", "--limit", "4").err


def test_a_file_without_a_delivery_is_an_error(shop: CommandLine):
    drop(shop.data / "inbox", "new.csv", HEADER)
    ended = shop("deliveries", "new.csv")
    assert ended.code == 3
    assert ended.err.endswith("`lfp deliveries` lists all deliveries.\n")


def test_a_failed_delivery_that_is_merged_since_is_merged(shop: CommandLine):
    source = shop.engine.catalog.source_at(str(shop.data / "elsewhere.csv"))
    (shop.data / "elsewhere.csv").write_text(f"{HEADER}l-1,Landed,\n")
    raw = shop.engine.land(source, "landed.csv", LOG).path
    content = raw.read_bytes()
    for damaged, status in ((b"?", "failed"), (b"", "merged")):
        raw.chmod(0o600)
        raw.write_bytes(content + damaged)
        ingest(shop.engine, publish=status == "failed")
        found = shop.done("deliveries", "landed.csv", "--json").json
        assert [row["status"] for row in found] == [status]
        (found,) = shop.done("deliveries", "--status", status, "--limit", "1", "--json").json
        assert found["file"] == "landed.csv"
        attention = shop.done("status", "--json").json["needs_attention"]
        assert ("landed.csv" in [row["file"] for row in attention]) == (status == "failed")


def test_pending_and_unpublished_deliveries_are_listed_first(shop: CommandLine):
    drop(shop.data / "inbox", "new file.csv", f"{HEADER}n-1,New,\n")
    ingest(shop.engine, publish=False)
    path = shop.data / "elsewhere.csv"
    path.write_text(f"{HEADER}l-1,Landed,\n")
    shop.engine.land(shop.engine.catalog.source_at(str(path)), "landed.csv", LOG)
    found = shop.done("deliveries", "--json").json
    assert [(row["file"], row["status"], row["rows"]) for row in found[:2]] == [
        ("landed.csv", "pending", None),
        ("new file.csv", "merged", None),
    ]
    assert len(found) == 6
    (refused,) = [row for row in found if row["file"] == "bad.csv"]
    assert "no column sku" in refused["error"]
    (pending,) = shop.done("deliveries", "--status", "pending", "--json").json
    assert pending["file"] == "landed.csv"
    assert shop.done("deliveries", "landed.csv", "--json").json == [pending]


def test_a_reversal_that_is_not_published_yet_shows(shop: CommandLine):
    from lfp_pipeline.operations.revert import revert_delivery  # noqa: PLC0415

    shop.set(publish_time_share=0)
    id_ = find_delivery(shop.engine, "my shop ä.csv").delivery_id
    revert_delivery(shop.engine, id_, LOG)
    (found,) = shop.done("deliveries", "my shop ä.csv", "--json").json
    assert (found["delivery_id"], found["status"]) == (id_, "reverted")


def test_without_tables_deliveries_are_those_of_the_raw_zone(shop: CommandLine):
    (shop.data / "published" / "products.duckdb").unlink()
    with running(HOLD_DATABASE, shop.data / "products.duckdb"):
        ended = shop.done("deliveries", "--json")
    assert "Rows are unknown." in ended.err
    statuses = [(row["file"], row["status"]) for row in ended.json]
    assert sorted(statuses) == [
        ("bad.csv", "refused"),
        ("fruit.csv", "merged"),
        ("fruit.csv", "merged"),
        ("my shop ä.csv", "merged"),
    ]


def test_a_failed_delivery_is_failed_not_pending(shop: CommandLine):
    with duckdb.connect(shop.data / "products.duckdb") as connection:
        connection.execute("UPDATE deliveries SET status = 'failed' WHERE status = 'refused'")
    note = next((shop.data / "raw" / "bad.csv").glob("*.outcome"))
    note.unlink()
    shop.engine.published.publish(LOG)
    assert [
        row["file"] for row in shop.done("deliveries", "--status", "failed", "--json").json
    ] == ["bad.csv"]


def test_a_product_is_shown_with_its_origin_and_its_earlier_rows(stocked: CommandLine):
    found = stocked.done("show", "fruit-1", "--json").json
    assert (found["name"], found["description"], found["file"]) == (
        "Ann Apple",
        "Red 1",
        "fruit.csv",
    )
    assert found["row_number"] == 1
    assert found["delivered_at"] == "1970-01-01T00:00:02Z"
    (earlier,) = found["earlier"]
    assert (earlier["description"], earlier["row_number"], earlier["as_then"]) == (
        "Green 1",
        1,
        True,
    )
    assert earlier["delivered_at"] == "1970-01-01T00:00:01Z"
    assert (found["unknown"], found["unread"]) == ([], 0)
    ended = stocked.done("show", "fruit-1")
    assert "Green 1" in ended.out
    assert "Reading older delivery 1 of" in ended.err


def test_control_characters_of_a_product_are_escaped(stocked: CommandLine):
    for arguments in (["show", "X-10"], ["search", "X-10"], ["query", "FROM products"]):
        out = stocked.done(*arguments).out
        assert "\x1b" not in out
        assert "\\x1b[31mred" in out
    assert stocked.done("show", "X-10", "--json").json["description"] == "\x1b[31mred"


def test_earlier_rows_are_read_as_when_they_were_merged(lfp: CommandLine):
    inbox = lfp.data / "inbox"
    lfp.set(column_aliases='{"sku": ["article"]}')
    drop(inbox, "a.csv", "article,name,description\ns-1,Old,\n", 1_000_000)
    ingest(lfp.engine)
    lfp.set(column_aliases="{}")
    drop(inbox, "b.csv", f"{HEADER}s-1,New,\n", 2_000_000)
    ingest(lfp.engine)
    (earlier,) = lfp.done("show", "s-1", "--json").json["earlier"]
    assert (earlier["name"], earlier["as_then"]) == ("Old", True)


def test_pruned_deliveries_are_unknown(shop: CommandLine):
    prune_raw(shop.engine, 0, LOG)
    ended = shop.done("show", "fruit-1", "--json")
    (unknown,) = ended.json["unknown"]
    assert unknown["delivery_id"].startswith("fruit.csv#19700101T000001")
    assert "its bytes are pruned" in unknown["reason"]
    assert label_of(unknown["delivery_id"]) in ended.err


def test_damaged_deliveries_are_unknown(shop: CommandLine):
    raw = next((shop.data / "raw" / "fruit.csv").glob("19700101T000001*.raw"))
    raw.write_bytes(b"other")
    (unknown,) = shop.done("show", "fruit-1", "--json").json["unknown"]
    assert "is not what landed" in unknown["reason"]


def test_older_deliveries_are_read_up_to_a_number(shop: CommandLine):
    assert shop.done("show", "fruit-1", "--earlier", "0", "--json").json["unread"] == 2
    drop(shop.data / "inbox", "fruit.csv", f"{HEADER}fruit-1,Ann,Blue\n", 3_000_000)
    ingest(shop.engine)
    ended = shop.done("show", "fruit-1", "--earlier", "1", "--json")
    assert [row["description"] for row in ended.json["earlier"]] == ["Red 1"]
    assert ended.json["unread"] == 2
    assert "2 older deliveries were not read" in ended.err


def test_a_deleted_product_shows_its_purge_and_its_earlier_rows(shop: CommandLine):
    purge_products(shop.engine, Selection(skus=["fruit-2"]), LOG)
    shop.engine.publish(LOG, at_once=True)
    ended = shop("show", "fruit-2", "--json")
    assert ended.code == 1
    assert ended.json["deleted_by"].startswith("purges#")
    assert [row["description"] for row in ended.json["earlier"]] == ["Green 2", "Green 2"]
    drop(shop.data / "inbox", "again.csv", f"{HEADER}fruit-2,Back,\n", 4_000_000_000_000_000)
    ingest(shop.engine)
    found = shop.done("show", "fruit-2", "--json").json
    assert found["name"] == "Back"
    assert [row["row_number"] for row in found["earlier"]] == [None, 2, 2]


def test_an_unknown_sku_is_a_json_document_too(stocked: CommandLine):
    ended = stocked("show", "friut-1", "--json")
    assert ended.code == 1
    assert ended.json is None


def test_an_unknown_sku_is_answered_with_similar_ones(stocked: CommandLine):
    ended = stocked("show", "friut-1")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines()[-1].startswith(
        "There is no product friut-1. Most like it: fruit-1, "
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fruit-1", ["fruit-1", *(f"fruit-{number}" for number in range(10, 20))]),
        ("X-1", ["x-1", "X-10"]),
        ("x-10", ["X-10"]),
        ("jose nunez", ["x-1"]),
        ("BRULEE", ["x-1"]),
        ("100%", []),
        ("_", []),
    ],
)
def test_products_are_found_whatever_case_and_accents(
    stocked: CommandLine, text: str, expected: list[str]
):
    ended = stocked("search", text, "--json")
    assert [product["sku"] for product in ended.json] == expected
    assert ended.code == (0 if expected else 1)


def test_the_best_matches_come_first(lfp: CommandLine):
    rows = [
        "a,Lamp,x",
        "b,x,a lamp",
        "Lamp,x,y",
        "lamp,x,y",
        "my-lamp,x,y",
        "c,Big Lamp,",
        "lamp-2,x,",
    ]
    drop(lfp.data / "inbox", "a.csv", HEADER + "\n".join(rows) + "\n")
    ingest(lfp.engine)
    found = lfp.done("search", "lamp", "--json").json
    assert [(product["sku"], product["found_in"]) for product in found] == [
        ("lamp", "sku"),
        ("Lamp", "sku"),
        ("lamp-2", "sku"),
        ("my-lamp", "sku"),
        ("a", "name"),
        ("c", "name"),
        ("b", "description"),
    ]
    shown = lfp.done("search", "lamp", "--limit", "5")
    assert len(shown.out.splitlines()) == 6
    assert "There are more" in shown.err


def test_the_most_frequent_names_are_listed(stocked: CommandLine):
    assert stocked.done("names", "--top", "1", "--json").json == [
        {"name": "Ann Apple", "no_of_products": 20}
    ]
    assert stocked.done("names", "--like", "JOSE").out.splitlines() == [
        "products  name",
        "       1  José Núñez",
    ]
    assert stocked.done("names", "--like", "nobody", "--json").json == []
    nobody = stocked.done("names", "--like", "nobody")
    assert (nobody.out, nobody.err.splitlines()[1:]) == ("", ["No name contains 'nobody'."])


def test_rejects_are_written_with_the_next_steps(lfp: CommandLine):
    rows = "".join(f"s-{number},Ann,\n" for number in range(20))
    drop(lfp.data / "inbox", "it's.csv", f"{HEADER}{rows},-Lamp,x\n")
    assert "There is no database" in lfp("rejects").err
    ingest(lfp.engine)
    ended = lfp.done("rejects", "it's.csv")
    path, _, rest = ended.out.partition("\n")
    with open(path, encoding="utf-8-sig", newline="") as file:  # noqa: PTH123
        (row,) = csv.DictReader(file)
    assert (row["name"], row["reason"]) == ("'-Lamp", "no sku")
    assert rest.startswith("    1 rejected row. To take them off the list")
    assert "        lfp dismiss 'it'\"'\"'s.csv#19700101T000001'\n" in rest
    assert "drop it into data/inbox under the same name." in " ".join(rest.split())
    assert "1 value began with one of = + - @." in rest
    assert "touch -d 1970-01-01T00:00:01.000000Z FILE; lfp ingest FILE" in rest.replace("\n", " ")


@pytest.mark.parametrize("inbox", ["s3://shop/inbox", None])
def test_rejects_are_corrected_in_the_inbox_of_the_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], inbox: str | None
):
    settings = Settings(data_dir=tmp_path, catalog=SecretStr("postgresql://db/lfp"), inbox=inbox)
    path, id_ = tmp_path / "rejects.csv", "a.csv#20260102T030405.000000Z#0123456789abcdef"
    found = RejectsFile(path, "a.csv", id_, "a.csv", True, False, 1, 0, False)
    rejects._print([found], settings)  # noqa: SLF001
    place = inbox or os.path.relpath(tmp_path / "inbox")
    assert f"drop it into {place} under the same name" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("which", ["fruit.csv#19700101T000001", "1"])
def test_rejects_of_an_older_delivery_are_chosen_by_its_id(stocked: CommandLine, which: str):
    if which == "1":
        which = find_delivery(stocked.engine, "fruit.csv#19700101T000001").delivery_id
    assert "No rejected rows" in stocked.done("rejects", "fruit.csv").err
    (file,) = stocked.done("rejects", which, "--json").json
    assert (file["rows"], file["is_refused"]) == (1, False)


def test_rejects_of_an_unknown_file_are_refused(stocked: CommandLine):
    ended = stocked("rejects", "nothing.csv")
    assert ended.code == 3
    assert "No delivery matches 'nothing.csv'" in ended.err


def test_rejects_of_a_refused_file_are_evidence(lfp: CommandLine):
    drop(lfp.data / "inbox", "half.csv", f"{HEADER}s-1,Ann,\n,Bob,\n")
    ingest(lfp.engine)
    assert "The whole file was refused" in lfp.done("rejects").out


def test_rejects_that_are_not_published_yet_are_written(shop: CommandLine):
    drop(shop.data / "inbox", "half.csv", f"{HEADER}s-1,Ann,\n,Bob,\n")
    ingest(shop.engine, publish=False)
    assert [row["rows"] for row in shop.done("rejects", "half.csv", "--json").json] == [1]


def test_published_rejects_are_written_while_a_run_writes(shop: CommandLine):
    with running(HOLD_DATABASE, shop.data / "products.duckdb"):
        assert shop.done("rejects", "fruit.csv#19700101T000001", "--json").json


@pytest.mark.parametrize("variable", ["PARTITION", "DELIVERY"])
def test_make_rejects_accepts_any_file_name(lfp: CommandLine, variable: str):
    rows = "".join(f"s-{number},Ann,\n" for number in range(20))
    name = 'it\'s "$5".csv'
    drop(lfp.data / "inbox", name, f"{HEADER}{rows},Lamp,x\n")
    ingest(lfp.engine)
    command = lfp.folder / "bin" / "lfp"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m lfp_pipeline "$@"\n')
    command.chmod(0o755)
    done = subprocess.run(
        ["make", "-s", "-o", "ready", f"BIN={command.parent}", "rejects", f"{variable}={name}"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert "1 rejected row" in done.stdout


def completions(lfp: CommandLine, command: str, incomplete: str) -> list[str]:
    environment = {
        **os.environ,
        "_LFP_COMPLETE": "bash_complete",
        "COMP_WORDS": f"lfp {command} {incomplete}",
        "COMP_CWORD": "2",
    }
    script = "from lfp_pipeline.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        cwd=lfp.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_the_shell_completes_commands_and_file_names(shop: CommandLine):
    assert completions(shop, "deliveries", "fr") == ["fruit.csv"]
    assert completions(shop, "rejects", "") == ["bad.csv", "fruit.csv", "my shop ä.csv"]
    for record in (shop.data / "raw").glob("my_shop*/*.json"):
        record.write_text("damaged")
    completed = completions(shop, "rejects", "")
    assert completed[:2] == ["bad.csv", "fruit.csv"]
    assert completed[2].startswith("my_shop_.csv-")
    shop.set(threads=0)
    assert completions(shop, "deliveries", "fr") == []
