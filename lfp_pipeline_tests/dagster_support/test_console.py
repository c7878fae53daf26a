"""What a run prints in a terminal: real processes."""

import json
from pathlib import Path

import pytest

from testing.dagster_project import NO_SKU, PARTITION_TAG, drop
from testing.shell import Shell

EXECUTE = ["dagster", "job", "execute", "-m", "lfp_pipeline.definitions", "-j"]


def execute(shell: Shell, job: str, config: object, *arguments: str) -> list[str]:
    """Run a job with a configuration, and return the lines that it prints."""
    path = Path(shell.folder) / "run.yaml"
    path.write_text(json.dumps(config))
    _, output = shell.run(*EXECUTE, job, "-c", str(path), *arguments)
    return [line for line in output.splitlines() if "Superseded" not in line]


@pytest.mark.slow
def test_an_expected_mistake_prints_few_lines_also_with_a_configuration(shell: Shell) -> None:
    config = {"ops": {"raw_products": {"config": {"source": "/nowhere/missing.csv"}}}}
    tags = ["--tags", json.dumps({PARTITION_TAG: "mine"})]
    for arguments in ([], tags):
        lines = execute(shell, "ingest_products", config, *arguments)
        assert len(lines) <= 12, "\n".join(lines)
        assert not any("Traceback" in line or 'File "' in line for line in lines)
        reasons = [line for line in lines if "cannot be read: No such file" in line]
        assert len(reasons) == 1, "\n".join(lines)


@pytest.mark.slow
def test_a_refusal_is_printed_once(shell: Shell) -> None:
    drop(shell.data / "inbox", "bad.csv", NO_SKU)
    for job, config in (
        ("ingest_inbox", {}),
        ("ingest_products", {"ops": {"raw_products": {"config": {"partition": "bad.csv"}}}}),
    ):
        lines = execute(shell, job, config)
        assert sum("has no column sku" in line for line in lines) == 1, "\n".join(lines)
        assert any("1 file is not merged." in line for line in lines)


def test_a_mistyped_key_prints_few_lines(shell: Shell) -> None:
    config = {"ops": {"revert": {"config": {"delivery_idd": "x"}}}}
    lines = execute(shell, "revert_delivery", config)
    assert len(lines) <= 6, "\n".join(lines)
    assert any('unexpected config entry "delivery_idd"' in line for line in lines)
