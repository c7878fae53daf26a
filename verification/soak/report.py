"""The report of a soak, in Markdown."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg
import duckdb

from verification.soak.campaign import MAX_ATTEMPTS, Soak, in_seconds
from verification.soak.samples import Sample, disk_bytes, run_counts
from verification.soak.servers import SERVERS
from verification.soak.trend import Trend, percentile, trend_of

_MB = 2**20
_SHOWN = 160
_NAMES = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|products-\d+\.csv\S*|[\d.,]*\d")

_TOTALS = """
SELECT count(*), sum(rows_read), sum(rows_updated), sum(rows_rejected),
    (SELECT count(*) FROM products), (SELECT count(*) FROM name_counts)
FROM deliveries
"""


def memory_trends(samples: Sequence[Sample]) -> dict[str, Trend]:
    """Return the trends of the memory of each server, and of all together."""
    samples = _complete(samples)
    times = [sample.at for sample in samples]
    rss = {name: [sample.usages[name].rss for sample in samples] for name in SERVERS}
    rss["all"] = [sum(usage.pss for usage in sample.usages.values()) for sample in samples]
    return {name: trend_of(times, values) for name, values in rss.items()}


def _complete(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples in which all servers were running."""
    return [sample for sample in samples if sample.usages.keys() == SERVERS.keys()]


def report(soak: Soak, problems: Sequence[str]) -> str:
    """Return the report: what was done, what it took, and what is wrong."""
    parts = (_work(soak), _readers(soak), _memory(soak), _disk(soak), _verdict(soak, problems))
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---", *["---:"] * (len(head) - 1)], *rows):
        yield f"| {' | '.join(row)} |"


def _work(soak: Soak) -> Iterator[str]:
    forms = Counter(version.form for version in soak.dropping.versions.values())
    lags = in_seconds(soak)
    unit = percentile(soak.empty_jobs, 50)
    with duckdb.connect(soak.data / "products.duckdb", read_only=True) as connection:
        totals = connection.execute(_TOTALS).fetchall()[0]
    deliveries, rows, updated, rejected, products, names = totals
    with dg.DagsterInstance.from_config(str(soak.folder / "home")) as instance:
        records = instance.get_run_records()
        counts = run_counts(instance)
        causes = Counter(_cause(instance, record.dagster_run) for record in records)
    attempts = [int(record.dagster_run.tags.get("lfp/attempt", 1)) for record in records]
    again = sum(attempt > 1 for attempt in attempts)
    del causes[""]
    minutes = (soak.samples[-1].at - soak.samples[0].at) / 60
    lag = f"{soak.settled:.0f} s after the last drop"
    yield f"{minutes:.0f} minutes of load; all was ingested {lag}."
    yield ""
    dropped = len(soak.dropping.dropped)
    figures = [
        ("versions of files dropped", f"{dropped:,}"),
        *((f"of them {form}", f"{number:,}") for form, number in forms.most_common()),
        ("changes in the shops", f"{soak.changes:,}"),
        ("deliveries in the ledger", f"{deliveries:,}"),
        ("rows read", f"{rows:,}"),
        ("rows updated", f"{updated:,}"),
        ("rows rejected", f"{rejected:,}"),
        ("products, names at the end", f"{products:,}, {names:,}"),
        (
            "from drop to merge, median, p99",
            f"{percentile(lags, 50):.1f} s, {percentile(lags, 99):.1f} s",
        ),
        ("an empty job, before and after, median", f"{unit:.1f} s"),
        (
            "from drop to merge in empty jobs, median, p99",
            f"{percentile(lags, 50) / unit:.1f}, {percentile(lags, 99) / unit:.1f}",
        ),
        *((f"runs, {status}", f"{number:,}") for status, number in counts.items()),
        ("run workers killed", f"{len(soak.kills):,}"),
        ("runs of the sensor that retried", f"{again:,}"),
        (f"most attempts at a file (of {MAX_ATTEMPTS})", f"{max(attempts):,}"),
    ]
    yield from _table(("", ""), figures)
    yield ""
    yield "Why runs failed:"
    yield ""
    yield from _table(("", "runs"), [(cause, f"{n:,}") for cause, n in causes.most_common()])


def _cause(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Return why a run failed, without names and numbers; empty if it did not."""
    if run.status is not dg.DagsterRunStatus.FAILURE:
        return ""
    cause = "its process was killed"  # Another run ended it then, and no step has failed.
    for entry in instance.all_logs(run.run_id, dg.DagsterEventType.STEP_FAILURE):
        error = entry.dagster_event.step_failure_data.error
        cause = error.message if error else entry.user_message
        break
    return _NAMES.sub("N", cause.strip().partition("\n")[0])[:_SHOWN]


def _readers(soak: Soak) -> Iterator[str]:
    seconds = [look.seconds for look in soak.looks]
    wrong = Counter(look.problem.partition(":")[0] for look in soak.looks if look.problem)
    rows = [
        ("looks at the published tables", f"{len(soak.looks):,}"),
        ("refused", f"{wrong['refused']:,}"),
        ("torn", f"{wrong['torn']:,}"),
        ("p50, p99, longest", _latency(seconds)),
        ("looks at the page of runs", f"{len(soak.pages):,}"),
        ("failed", f"{soak.failed_pages:,}"),
        ("p50, p99, longest of them", _latency(soak.pages)),
    ]
    yield from _table(("readers", ""), rows)


def _latency(seconds: Sequence[float]) -> str:
    return ", ".join(
        f"{1000 * value:.0f} ms"
        for value in (percentile(seconds, 50), percentile(seconds, 99), max(seconds))
    )


def _memory(soak: Soak) -> Iterator[str]:
    samples = _complete(soak.samples)
    first, last = samples[len(samples) // 4], samples[-1]
    rows = []
    for name, trend in memory_trends(soak.samples).items():
        row = [name, *(f"{quarter / _MB:.0f}" for quarter in trend.quarters)]
        row += [f"{slope / _MB:+.1f}" for slope in (trend.slope, trend.slope_of_second_half)]
        if name in SERVERS:
            ends = first.usages[name], last.usages[name]
            row += [" → ".join(str(use.files) for use in ends)]
            row += [" → ".join(str(use.threads) for use in ends)]
        else:
            row += ["", ""]
        rows.append([*row, "yes" if trend.is_flat else "**no**"])
    head = ["RSS in MB, median of each quarter", "1st", "2nd", "3rd", "4th"]
    head += ["MB/h", "MB/h, second half", "open files", "threads", "flat"]
    yield from _table(head, rows)
    yield ""
    yield "All together: PSS, in which shared pages count once. Files and threads: after a quarter"
    yield "of the time, and at the end."
    for name in SERVERS:
        if len({sample.usages[name].pid for sample in samples}) > 1:
            yield f"The {name} has ended and was started again: its trend means little."


def _disk(soak: Soak) -> Iterator[str]:
    samples = soak.samples
    shown = [samples[len(samples) * part // 4] for part in (0, 1, 2, 3)] + [samples[-1]]
    rows = []
    for name in shown[0].disk:
        sizes = [f"{sample.disk[name] / _MB:.1f}" for sample in shown]
        rows.append([name, *sizes, f"{_per_run(samples, name) / 1024:+.1f}"])
    yield from _table(["disk, MB at", "0", "¼", "½", "¾", "end", "KB per run, 2nd half"], rows)
    yield ""
    database, fresh = soak.data / "products.duckdb", fresh_size(soak)
    file, log = map(disk_bytes, (database, database.with_name("products.duckdb.wal")))
    yield (
        f"The database at the end: {file / _MB:.1f} MB, and {log / _MB:.1f} MB of log. A fresh "
        f"copy of its tables: {fresh / _MB:.1f} MB; the file is {file / fresh:.1f} times as large."
    )
    remaining = _leftovers(soak.data)
    yield ""
    yield f"Left in work/ and as hidden files at the end: {len(remaining)} files {remaining[:5]}."


def _leftovers(data: Path) -> list[str]:
    """Return short-lived files, of which there should be none when nothing runs."""
    hidden = (path for path in data.rglob(".*") if path.is_file())
    work = (path for path in (data / "work").rglob("*") if path.is_file())
    return sorted({str(path.relative_to(data)) for path in (*hidden, *work)})


def _per_run(samples: Sequence[Sample], name: str) -> float:
    middle, last = samples[len(samples) // 2], samples[-1]
    runs = sum(last.runs.values()) - sum(middle.runs.values())
    return (last.disk[name] - middle.disk[name]) / max(runs, 1)


def fresh_size(soak: Soak) -> int:
    """Return the size of a new database with the same tables, in bytes."""
    copy: Path = soak.folder / "fresh.duckdb"
    copy.unlink(missing_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{soak.data / 'products.duckdb'}' AS old (READ_ONLY)")
        connection.execute(f"ATTACH '{copy}' AS fresh")
        connection.execute("COPY FROM DATABASE old TO fresh")
        connection.execute("CHECKPOINT fresh")
    return disk_bytes(copy)


def _verdict(soak: Soak, problems: Sequence[str]) -> Iterator[str]:
    growing = [name for name, trend in memory_trends(soak.samples).items() if not trend.is_flat]
    yield f"Memory: {'growing: ' + ', '.join(growing) if growing else 'flat'}."
    yield from (f"Wrong: {problem}" for problem in problems)
    if not problems:
        yield "Lost: nothing."
