"""Makes the archive of a project of an earlier commit, which `test_upgrade.py` uses.

Run it with the installation of that commit, in the folder of that commit: it imports nothing of
this package, and starts the commands of that commit. Dagster records the path of the folder and of
the interpreter, so take neutral ones:

    mkdir /srv/lfp && git archive 456b781 | tar -x -C /srv/lfp
    make -C /srv/lfp setup PYTHON=/usr/bin/python3
    SCRIPT=$PWD/lfp_pipeline_tests/stories/upgrade/make_archive.py
    cd /srv/lfp && .venv/bin/python $SCRIPT ~/project-456b781.tar.xz

The script drops files into the inbox while the daemon runs. Then it runs the operator's jobs, and
lands a file without merging it. The times of all files are whole seconds, which every archive
keeps.
"""

import gzip
import io
import json
import os
import sqlite3
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

PROJECT = Path.cwd()
DATA = PROJECT / "data"
HOME = PROJECT / ".dagster_home"
BIN = PROJECT / ".venv" / "bin"
DAGSTER = BIN / "dagster"

ENVIRONMENT = {
    "DAGSTER_HOME": str(HOME),
    "PYTHONWARNINGS": "ignore::FutureWarning:click.core",
    "LFP_SENSOR_INTERVAL_SECONDS": "1",
    "LFP_INBOX_QUIET_SECONDS": "1",
    "LFP_PUBLISH_SHARE": "1",
    "TMPDIR": str(DATA / "work"),  # Runs record the socket of the server that started them.
}
NAMES = "Lamp", "Chair", "Desk"
LONGEST_WAIT_SECONDS = 180


def catalogue(edition: str, products: int) -> str:
    """Return a file of numbered products."""
    rows = [
        f"c{number},{NAMES[number % 3]},{edition} {number}" for number in range(1, products + 1)
    ]
    return csv_text(*rows)


def csv_text(*rows: str) -> str:
    """Return the text of a file with these rows."""
    return "\n".join(["sku,name,description", *rows, ""])


def gzip_of(text: str) -> bytes:
    """Return a text, compressed."""
    return gzip.compress(text.encode(), mtime=0)


def zip_of(members: Mapping[str, str]) -> bytes:
    """Return a zip of these files."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return target.getvalue()


def drop(name: str, day: str, content: str | bytes) -> None:
    """Put a file into the inbox, whole, with the time of midnight of a day."""
    target = DATA / "inbox" / name
    target.parent.mkdir(exist_ok=True)
    unfinished = target.with_name(f".{target.name}")
    unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
    seconds = datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
    os.utime(unfinished, (seconds, seconds))
    unfinished.replace(target)


def ended() -> int:
    """Return the number of deliveries with a status note."""
    return len(list(DATA.glob("raw/*/*.outcome")))


def is_at_rest() -> bool:
    """Return whether all runs have ended."""
    with dg.DagsterInstance.from_config(str(HOME)) as instance:
        return all(run.is_finished for run in instance.get_runs())


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; fail after some time."""
    deadline = time.monotonic() + LONGEST_WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.5)


def wait_for(deliveries: int) -> None:
    """Wait until so many deliveries have a status note, and all runs have ended."""
    wait_until(lambda: ended() == deliveries and is_at_rest())


def execute(job: str, config: object = None) -> None:
    """Execute a job on the command line."""
    command = [DAGSTER, "job", "execute", "-m", "lfp_pipeline.definitions", "-j", job]
    if config is not None:
        command += ["-c", "/dev/stdin"]
    text = json.dumps({"ops": config}) if config is not None else None
    subprocess.run(command, check=True, input=text, text=True, env=os.environ | ENVIRONMENT)


def delivery_id(key: str) -> str:
    """Return the id of the only delivery of a partition."""
    (record,) = (DATA / "raw" / key).glob("*.json")
    return str(json.loads(record.read_text())["delivery_id"])


def let_the_daemon_take_in() -> float:
    """Drop files and new versions of them, while the sensors run.

    Returns:
        When the first files had come to an end, in seconds since the epoch.
    """
    drop("catalogue.csv", "2025-01-01", catalogue("first", 12))
    drop("shops/north.csv.gz", "2025-01-02", gzip_of(csv_text("n1,Stool,", "n2,Stool,", "c1,X,x")))
    lamps = {"floor.csv": csv_text("l1,Lamp,", "l2,Lamp,"), "table.csv": csv_text("l3,Lamp,")}
    drop("lamps.zip", "2025-01-03", zip_of(lamps))
    mixed = [f"m{number},Rug,{number}" for number in range(1, 20)]
    drop("mixed.csv", "2025-01-04", csv_text(*mixed, ",Rug,a row without a sku"))
    drop("old.csv", "2025-01-05", csv_text("o1,Vase,old", "o2,Vase,old"))
    drop("stock.csv", "2025-01-06", csv_text("p1,Shelf,", "p2,Shelf,"))
    wait_for(6)
    first_ended = time.time()
    drop("catalogue.csv", "2025-02-01", catalogue("second", 8))
    wait_for(7)
    drop("old.csv", "2025-02-02", csv_text("o1,Vase,new", "o2,Vase,new"))
    wait_for(8)
    execute("prune_raw", {"prune": {"config": {"older_than_days": 0}}})
    drop("broken.csv", "2025-03-01", "no header\nat all\n")
    drop("future.csv", "2100-01-01", csv_text("c2,Bench,of the future", "f1,Bench,"))
    drop("same.csv", "2025-04-01", csv_text("t1,One,1"))
    wait_for(11)
    drop("same.csv", "2025-04-01", csv_text("t1,Two,22"))
    drop("wrong.csv", "2025-05-01", csv_text("c3,Wrong,", "c4,Wrong,"))
    drop("again.csv", "2025-06-01", csv_text("c5,Sofa,", "c10,Sofa,"))
    wait_for(14)
    return first_ended


def do_what_operators_do(first_ended: float) -> None:
    """Revert, reinstate, purge and prune; land without a merge; and verify.

    Args:
        first_ended: what landed later is not pruned.
    """
    wrong = {"delivery_id": delivery_id("wrong.csv"), "despite_pruned": True}
    execute("revert_delivery", {"revert": {"config": wrong}})
    again = {"delivery_id": delivery_id("again.csv"), "despite_pruned": True}
    execute("revert_delivery", {"revert": {"config": again}})
    execute("revert_delivery", {"revert": {"config": again | {"reinstate": True}}})
    execute("purge_products", {"purge": {"config": {"skus": ["c6", "n1", "p1", "p2"]}}})
    days = (time.time() - first_ended) / 86_400
    execute("prune_raw", {"prune": {"config": {"older_than_days": days}}})
    drop("late.csv", "2025-07-01", csv_text("c7,Late,", "z1,Late,"))
    time.sleep(2)
    with dg.DagsterInstance.from_config(str(HOME)) as instance:
        instance.add_dynamic_partitions("product_files", ["late.csv"])
    command = [DAGSTER, "asset", "materialize", "-m", "lfp_pipeline.definitions"]
    command += ["--select", "raw_products", "--partition", "late.csv"]
    subprocess.run(command, check=True, env=os.environ | ENVIRONMENT)
    execute("verify", {"laws": {"config": {"thorough": True}}})
    execute("status")


def pack(target: Path) -> None:
    """Pack the data folder and the Dagster home, always in the same way."""
    for database in HOME.rglob("*.db"):
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("VACUUM")
    with tarfile.open(target, "w:xz", preset=9, format=tarfile.PAX_FORMAT) as archive:
        for folder, name in ((DATA, "data"), (HOME, "home")):
            for path in sorted(folder.rglob("*")):
                inside = path.relative_to(folder)
                if inside.parts[0] in {"work", "dagster.yaml", ".gitkeep"}:
                    continue
                member = archive.gettarinfo(path, f"{name}/{inside}")
                member.uid = member.gid = 0
                member.uname = member.gname = ""
                member.mtime = int(member.mtime)
                if path.is_file():
                    with path.open("rb") as file:
                        archive.addfile(member, file)
                else:
                    archive.addfile(member)


def main() -> None:
    """Make a project, use it, and pack it."""
    (DATA / "work").mkdir(parents=True, exist_ok=True)
    execute(
        "status"
    )  # Makes the tables of the Dagster home, which two processes at once could not.
    daemon = subprocess.Popen(
        [BIN / "dagster-daemon", "run"], env=os.environ | ENVIRONMENT, start_new_session=True
    )
    try:
        first_ended = let_the_daemon_take_in()
    finally:
        daemon.terminate()
        daemon.wait(60)
    wait_until(is_at_rest)
    do_what_operators_do(first_ended)
    pack(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
