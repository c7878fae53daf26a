"""Dagster's commands as a user runs them: `dagster job execute` and `dagster dev`."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from examples.processes import free_port, stop
from lfp_pipeline.common.project_folder import TEMPLATES

_ROOT = Path(__file__).resolve().parents[1]

_TO_SETTLE_SECONDS = 15

_FIRST_USE = "import dagster as dg; dg.DagsterInstance.get().get_runs(limit=1)"


def prepared_instance(folder: Path) -> Path:
    """Return a Dagster instance with the project's `dagster.yaml` and its tables, to be copied."""
    if not folder.exists():
        unfinished = folder.with_name(f"unfinished-{folder.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        shutil.copy(TEMPLATES / "dagster.yaml", unfinished)
        command = [sys.executable, "-c", _FIRST_USE]
        subprocess.run(command, env=_environment(unfinished, {}), check=True)  # noqa: S603 (ours)
        unfinished.replace(folder)
    return folder


def execute_job(instance: Path, module: str, job: str, settings: Mapping[str, str]) -> None:
    """Execute a job of a module, with settings as variables of the environment.

    Raises:
        RuntimeError: the job failed; the text is the output of the job.
    """
    arguments = ["dagster", "job", "execute", "-m", module, "-j", job]
    done = subprocess.run(  # noqa: S603 (ours)
        [sys.executable, "-m", *arguments],
        cwd=_ROOT,
        env=_environment(instance, settings),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)


@contextmanager
def dagster_dev(instance: Path, settings: Mapping[str, str]) -> Iterator[None]:
    """Run what `make dev` starts for the block: webserver, daemon and sensors."""
    port = str(free_port())
    log = instance / "dev.log"
    with log.open("wb") as printed:
        process = subprocess.Popen(  # noqa: S603 (ours)
            [sys.executable, "-m", "dagster", "dev", "--port", port],
            cwd=_ROOT,
            env=_environment(instance, settings),
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while "Serving dagster-webserver" not in (output := log.read_text(errors="replace")):
                if process.poll() is not None:
                    raise RuntimeError(output)
                time.sleep(0.5)
            time.sleep(_TO_SETTLE_SECONDS)
            yield
        finally:
            stop(process)


def _environment(instance: Path, settings: Mapping[str, str]) -> dict[str, str]:
    own = {"DAGSTER_HOME": str(instance), "PYTHONWARNINGS": "ignore"}
    return {**os.environ, **own, **settings}
