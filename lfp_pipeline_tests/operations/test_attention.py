"""Rejected rows need attention until they are fixed, replaced, reverted or dismissed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import OperationRefusedError
from lfp_pipeline.operations.dismiss import dismiss_delivery
from lfp_pipeline.operations.export_rejects import export_rejects
from lfp_pipeline.operations.find_delivery import find_delivery
from lfp_pipeline.operations.rebuild import rebuild_products
from lfp_pipeline.operations.revert import reinstate_delivery, revert_delivery
from lfp_pipeline.operations.status import collect_status
from testing.cases import first_fast
from testing.dagster_project import HEADER, drop
from testing.engine import LOG, engine_at
from testing.shop import ingest

BAD = f"{HEADER}{''.join(f's{number},Ann,x{chr(10)}' for number in range(20))},Bob,y\n,Cid,z\n"


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return engine_at(tmp_path / "data", max_reject_share=0.1, inbox_stable_seconds=0)


def to_fix(engine: Engine) -> dict[str, int]:
    """Return the numbers of rejected rows to fix, by partition; the status counts the same."""
    engine.published.publish(LOG)
    found = {file.partition_key: file.rows for file in export_rejects(engine, LOG)}
    tables = collect_status(engine).tables
    assert tables
    assert tables.rejects_to_fix == sum(found.values())
    return found


def deliver(engine: Engine, name: str, content: str, seconds: int) -> None:
    path = engine.settings.inbox_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    drop(path.parent, path.name, content, seconds * 1_000_000)
    ingest(engine)


def written(engine: Engine, fix: Callable[[str], str]) -> tuple[str, str]:
    """Return the name and the content of the only file of rejects, fixed."""
    (file,) = export_rejects(engine, LOG)
    return file.path.name, fix(file.path.read_text(encoding="utf-8-sig"))


def all_fixed(text: str) -> str:
    return text.replace("\n,Bob", "\nf1,Bob").replace("\n,Cid", "\nf2,Cid")


@pytest.mark.parametrize(
    "name", first_fast(["Größe 商品.csv", "a.csv", f"{'very long ' * 20}.csv"])
)
@pytest.mark.parametrize(
    "rename",
    [
        pytest.param(lambda name: name, id="as it was written"),
        pytest.param(lambda name: f"sub/{name}", id="in a folder"),
        pytest.param(lambda name: name.removesuffix(".csv") + " (1).csv", id="downloaded again"),
    ],
)
def test_rejects_are_fixed_by_the_file_that_was_written_for_them(
    engine: Engine, name: str, rename: Callable[[str], str]
):
    deliver(engine, name, BAD, 1)
    deliver(engine, "other.csv", BAD.replace("s1", "t"), 1)
    assert list(to_fix(engine).values()) == [2, 2]
    (engine.settings.inbox_dir / "other.csv").unlink()
    other = find_delivery(engine, "other.csv")
    revert_delivery(engine, other.delivery_id, LOG)
    deliver(engine, rename(written(engine, all_fixed)[0]), written(engine, all_fixed)[1], 2)
    assert to_fix(engine) == {}
    reinstate_delivery(engine, other.delivery_id, LOG)
    assert to_fix(engine) == {"other.csv": 2}


def test_rows_that_were_fixed_in_part_are_those_of_the_new_file(engine: Engine):
    deliver(engine, "a.csv", BAD, 1)
    name, text = written(engine, lambda text: text.replace("\n,Bob", "\nf1,Bob"))
    many = "".join(f"g{number},Ann,,,,,,,,,\n" for number in range(20))
    deliver(engine, name, text + many, 2)
    assert to_fix(engine) == {name: 1}
    again, text = written(engine, all_fixed)
    deliver(engine, again, text, 3)
    assert to_fix(engine) == {}


def test_a_correction_that_is_refused_or_reverted_fixes_nothing(engine: Engine):
    deliver(engine, "a.csv", BAD, 1)
    name, text = written(engine, str)
    deliver(engine, name, text, 2)  # Nothing is fixed, so the file is refused.
    assert to_fix(engine) == {"a.csv": 2, name: 2}
    deliver(engine, name, all_fixed(text), 3)
    assert to_fix(engine) == {}
    revert_delivery(engine, find_delivery(engine, name, latest=True).delivery_id, LOG)
    assert to_fix(engine) == {"a.csv": 2, name: 2}


def test_a_newer_version_replaces_the_rejects_of_an_older_one(engine: Engine):
    deliver(engine, "a.csv", BAD, 1)
    deliver(engine, "a.csv", BAD.replace(",Cid,z", "f2,Cid,z"), 2)
    assert to_fix(engine) == {"a.csv": 1}
    newest = find_delivery(engine, "a.csv", latest=True).delivery_id
    revert_delivery(engine, newest, LOG)
    assert to_fix(engine) == {"a.csv": 2}


def test_rejects_of_a_refused_file_need_attention_as_long_as_the_file_does(engine: Engine):
    deliver(engine, "a.csv", f"{HEADER}s1,Ann,x\n,Bob,y\n", 1)
    assert to_fix(engine) == {"a.csv": 1}
    shutil.move(engine.settings.inbox_dir / "a.csv", engine.settings.data_dir)
    assert to_fix(engine) == {}
    shutil.move(engine.settings.data_dir / "a.csv", engine.settings.inbox_dir)
    assert to_fix(engine) == {"a.csv": 1}
    dismiss_delivery(engine, find_delivery(engine, "a.csv").delivery_id, LOG)
    assert to_fix(engine) == {}


def test_dismissed_rejects_need_no_attention_until_a_newer_version_has_some(engine: Engine):
    deliver(engine, "a.csv", BAD, 1)
    dismiss_delivery(engine, find_delivery(engine, "a.csv").delivery_id, LOG)
    assert to_fix(engine) == {}
    deliver(engine, "a.csv", BAD, 2)
    assert to_fix(engine) == {"a.csv": 2}


def test_a_dismissal_counts_only_for_the_rows_that_were_rejected_then(engine: Engine):
    deliver(engine, "a.csv", f"{BAD}long,Longer,x\n", 1)
    id_ = find_delivery(engine, "a.csv").delivery_id
    dismiss_delivery(engine, id_, LOG)
    stricter = engine_at(engine.settings.data_dir, max_reject_share=1, max_name_length=5)
    present = {"use_present_settings": True}
    rebuild_products(stricter, LOG, allow_data_loss=True, **present)
    assert to_fix(stricter) == {"a.csv": 3}
    dismiss_delivery(stricter, id_, LOG)
    assert to_fix(stricter) == {}
    revert_delivery(engine, id_, LOG)
    reinstate_delivery(engine, id_, LOG, **present)
    assert to_fix(engine) == {"a.csv": 2}


def test_a_dismissal_of_rejects_is_taken_back_by_reinstating(engine: Engine):
    deliver(engine, "a.csv", BAD, 1)
    id_ = find_delivery(engine, "a.csv").delivery_id
    with pytest.raises(OperationRefusedError, match="nothing to reinstate"):
        reinstate_delivery(engine, id_, LOG)
    dismiss_delivery(engine, id_, LOG)
    with pytest.raises(OperationRefusedError, match="rejected rows are dismissed already"):
        dismiss_delivery(engine, id_, LOG)
    reinstate_delivery(engine, id_, LOG, dry_run=True)
    assert to_fix(engine) == {}
    assert "is taken back" in reinstate_delivery(engine, id_, LOG).summary
    assert to_fix(engine) == {"a.csv": 2}


def test_rejects_that_are_off_the_list_are_not_dismissed(engine: Engine):
    deliver(engine, "a.csv", BAD, 1)
    older = find_delivery(engine, "a.csv").delivery_id
    deliver(engine, "a.csv", BAD.replace(",Bob,y", "f1,Bob,y"), 2)
    with pytest.raises(OperationRefusedError, match="A newer version of its file replaces"):
        dismiss_delivery(engine, older, LOG)
    name, text = written(engine, all_fixed)
    deliver(engine, name, text, 3)
    with pytest.raises(OperationRefusedError, match="corrections of its rejected rows are merged"):
        dismiss_delivery(engine, find_delivery(engine, "a.csv", latest=True).delivery_id, LOG)
