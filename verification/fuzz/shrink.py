"""Shrinks a finding: leaves out parts of a case as long as it still fails in the same way."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from verification.fuzz.cases import Case, File


def shrunk(case: Case, what: str, file: Path, seconds: float) -> Case:
    """Return the smallest case found within some seconds that fails in the same way.

    The type of the error `what` decides whether two failures are alike. The file hands cases to the
    processes that try them.
    """
    end = time.monotonic() + seconds
    kind = what.partition(":")[0]

    def fails(smaller: Case) -> bool:
        file.write_text(smaller.to_json())
        command = [sys.executable, "-m", "verification.fuzz", "--replay", str(file)]
        tried = subprocess.run(command, capture_output=True, text=True, check=False)
        if kind == "Crashed":
            return tried.returncode < 0
        return tried.returncode != 0 and kind in tried.stderr.strip().rpartition("\n")[2]

    smaller = True
    while smaller:
        smaller = False
        for candidate in _smaller(case):
            if time.monotonic() > end:
                break
            if fails(candidate):
                case, smaller = candidate, True
                break
    file.unlink(missing_ok=True)
    return case


def _smaller(case: Case) -> Iterator[Case]:
    if len(case.files) > 1:
        for number in range(len(case.files)):
            yield replace(case, files=case.files[:number] + case.files[number + 1 :])
    for change in (
        {"way": "read", "max_reject_share": 1},
        {"threads": 1},
        {"null_tokens": ()},
        {"require_all_cells": False},
    ):
        if replace(case, **change) != case:  # type: ignore[arg-type]
            yield replace(case, **change)  # type: ignore[arg-type]
    for number, file in enumerate(case.files):
        for smaller in _smaller_files(file):
            yield replace(case, files=(*case.files[:number], smaller, *case.files[number + 1 :]))


def _smaller_files(file: File) -> Iterator[File]:
    if file.packing != "plain":
        yield replace(file, packing="plain", damage=None)
    if file.encoding != "utf-8":
        yield replace(file, encoding="utf-8")
    start = file.start or 0
    body = file.text[start:]
    size = len(body)
    while size:
        for place in range(0, len(body), size):
            yield replace(file, text=file.text[:start] + body[:place] + body[place + size :])
        size //= 2
