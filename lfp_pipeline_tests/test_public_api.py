"""The public API: its names are exactly these, and the example of its docstring runs."""

import inspect
import subprocess
import sys
from pathlib import Path
from tomllib import loads

import pytest

import lfp_pipeline
from lfp_pipeline import errors
from testing.dagster_project import PRODUCTS, drop, query
from testing.expected_tables import File, expected_products
from testing.processes import PROJECT

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"),))

NAMES = {"Engine", "IngestResult", "Settings", "__version__", "load_settings"}


def test_the_exported_names_are_the_classes_of_the_engine_and_all_errors() -> None:
    of_errors = {name for name, found in vars(errors).items() if inspect.isclass(found)}
    assert set(lfp_pipeline.__all__) == NAMES | of_errors
    for name in lfp_pipeline.__all__:
        assert getattr(lfp_pipeline, name) is not None
        assert name in dir(lfp_pipeline)


def test_any_other_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = lfp_pipeline.nothing


def test_the_version_is_that_of_the_package() -> None:
    project = loads((PROJECT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {
        "attr": "lfp_pipeline.__version__"
    }


def test_importing_the_package_imports_none_of_its_modules() -> None:
    code = "import sys, lfp_pipeline; print([m for m in sys.modules if m[:13] == 'lfp_pipeline.'])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, cwd=PROJECT
    )
    assert done.stdout == b"[]\n"


def test_the_example_of_the_docstring_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LFP_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("LFP_INBOX_STABLE_SECONDS", "0")
    drop(tmp_path / "inbox", A.key, A.content, A.microseconds)
    lines = inspect.cleandoc(lfp_pipeline.__doc__ or "").splitlines()
    example = "\n".join(line.removeprefix("    ") for line in lines if line.startswith("    "))
    exec(compile(example, "example", "exec"), {})  # noqa: S102 (our own docstring)
    assert "a.csv" in capsys.readouterr().out
    assert query(tmp_path, PRODUCTS) == expected_products([A])
