"""The container files, as far as they can be checked without running containers."""

import re
from typing import Any

import click
import pytest
import yaml

from lfp_pipeline.cli.main import lfp as program
from lfp_pipeline.common.setting_names import ENV_PREFIX, accepted_names
from lfp_pipeline.settings import Settings
from testing.processes import PROJECT

CONTAINERFILE = (PROJECT / "Containerfile").read_text()
COMPOSE: Any = yaml.safe_load((PROJECT / "compose.yaml").read_text())
OURS = ("init", "head", "worker")


def instructions(name: str) -> list[str]:
    text = CONTAINERFILE.replace("\\\n", " ")
    return [line.split(None, 1)[1] for line in text.splitlines() if line.startswith(f"{name} ")]


def parsed(arguments: list[str]) -> None:
    """Fail unless the arguments are those of a command of `lfp`."""
    command: click.Command = program
    context = click.Context(program)
    while isinstance(command, click.Group):
        name, *arguments = arguments
        found = command.get_command(context, name)
        assert found is not None, name
        command = found
    command.make_context("lfp", arguments, resilient_parsing=True)


def test_the_image_has_no_root_one_volume_and_a_health_check() -> None:
    assert instructions("USER") == ["10001"]
    assert instructions("VOLUME") == ["/project"]
    (check,) = instructions("HEALTHCHECK")
    parsed(["cluster", "alive"])
    assert check.endswith('["lfp", "cluster", "alive"]')
    assert CONTAINERFILE.index("USER ") > CONTAINERFILE.index("RUN useradd")


def test_the_image_is_made_of_files_that_exist_and_a_lock_with_hashes() -> None:
    copied = [
        word
        for line in instructions("COPY")
        if not line.startswith("--from")
        for word in line.split()[:-1]
    ]
    assert copied
    assert [name for name in copied if not (PROJECT / name).exists()] == []
    assert "--require-hashes" in CONTAINERFILE


@pytest.mark.parametrize("name", OURS)
def test_each_service_runs_a_command_with_known_settings(name: str) -> None:
    service = COMPOSE["services"][name]
    parsed(service["command"])
    names = {variable for variable in service["environment"] if variable.startswith(ENV_PREFIX)}
    known = {
        f"{ENV_PREFIX}{accepted.upper()}" for accepted in accepted_names(Settings.model_fields)
    }
    assert names <= known
    assert {"LFP_CATALOG", "LFP_BROKER", "LFP_LAKE", "LFP_RAW", "LFP_INBOX"} <= names


def test_passwords_come_from_the_environment_only() -> None:
    for service in COMPOSE["services"].values():
        for variable, value in service["environment"].items():
            if "PASSWORD" in variable or "SECRET" in variable:
                assert re.fullmatch(r"\$\{\w+:\?\}", value), variable
            if "://" in value and "@" in value:
                assert re.search(r":\$\{\w+:\?\}@", value), variable


def test_services_start_after_those_that_they_need() -> None:
    services = COMPOSE["services"]
    for name in OURS:
        for other, condition in services[name]["depends_on"].items():
            if condition["condition"] == "service_healthy":
                assert services[other]["healthcheck"]["test"]
            else:
                assert (other, condition["condition"]) == (
                    "init",
                    "service_completed_successfully",
                )
