"""Jobs that wait, to be interrupted or killed, or show their environment."""

import os
import time
from pathlib import Path

import dagster as dg


class WaitConfig(dg.Config):
    """The file that shows the process id once the op has begun, and how long the op waits."""

    file: str
    seconds: float = 60


@dg.op
def wait(config: WaitConfig) -> None:
    """Wait."""
    Path(config.file).write_text(str(os.getpid()))
    time.sleep(config.seconds)


@dg.job(executor_def=dg.in_process_executor)
def waiting() -> None:
    """Wait in one step."""
    wait()


@dg.op
def remember(config: WaitConfig) -> None:
    """Write the number of threads that the environment sets."""
    Path(config.file).write_text(os.environ.get("OPENBLAS_NUM_THREADS", ""))


@dg.job(executor_def=dg.in_process_executor)
def remembering() -> None:
    """Write the number of threads in one step."""
    remember()
