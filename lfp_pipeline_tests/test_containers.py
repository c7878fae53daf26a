"""The container files, as far as they can be checked without running containers."""

import re
from copy import deepcopy
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


def copied_files() -> list[str]:
    """Return what the image is made of."""
    copied = (line.split() for line in instructions("COPY") if not line.startswith("--from"))
    return [word for *words, _ in copied for word in words]


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
    (environment,) = instructions("ENV")
    for name in ("HOME", "DAGSTER_HOME", "LFP_DATA_DIR"):
        assert re.search(rf"\b{name}=/project\b", environment), name
    (check,) = instructions("HEALTHCHECK")
    parsed(["cluster", "alive"])
    assert check.endswith('["lfp", "cluster", "alive"]')
    assert CONTAINERFILE.index("USER ") > CONTAINERFILE.index("RUN useradd")


def test_the_image_is_made_of_files_that_exist_and_a_lock_with_hashes() -> None:
    copied = copied_files()
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


def written_passwords(compose: Any) -> list[str]:  # noqa: ANN401
    """Return the variables that have a password, and not from the environment."""
    return [
        variable
        for service in compose["services"].values()
        for variable, value in service["environment"].items()
        if not (_PASSWORD if _IS_SECRET.search(variable) else _NO_PASSWORD).fullmatch(value)
    ]


_GIVEN = r"\$\{LFP_\w+_PASSWORD:\?[^}]+\}"
_PASSWORD = re.compile(rf"{_GIVEN}|\w+://\w*:{_GIVEN}@\w+(:\d+)?/\w+")
_NO_PASSWORD = re.compile(r"[\w-]+|(http|s3)://[\w.:/-]+")
_IS_SECRET = re.compile("PASSWORD|SECRET|CATALOG|BROKER")


def test_passwords_come_from_the_environment_only() -> None:
    assert written_passwords(COMPOSE) == []


@pytest.mark.parametrize(
    ("service", "variable", "value"),
    [
        ("postgres", "POSTGRES_PASSWORD", "s3cret"),
        ("redis", "REDIS_PASSWORD", "${LFP_REDIS_PASSWORD:-s3cret}"),
        ("head", "LFP_CATALOG", "postgresql://lfp:s3cret@postgres/lfp"),
        ("head", "LFP_CATALOG", "postgresql://postgres/lfp?user=lfp&password=s3cret"),
        ("head", "LFP_BROKER", "redis://redis/0?password=s3cret"),
        ("worker", "AWS_SECRET_ACCESS_KEY", "s3cret"),
        ("worker", "AWS_ENDPOINT_URL", "http://lfp:s3cret@s3:9000"),
    ],
)
def test_a_written_password_is_found(service: str, variable: str, value: str) -> None:
    compose = deepcopy(COMPOSE)
    compose["services"][service]["environment"] = COMPOSE["services"][service]["environment"] | {
        variable: value
    }
    assert variable in written_passwords(compose)


def test_the_file_of_the_passwords_is_neither_kept_by_git_nor_sent_to_the_builder() -> None:
    assert "/.env" in (PROJECT / ".gitignore").read_text().splitlines()
    comment, everything, *sent = (PROJECT / ".dockerignore").read_text().splitlines()
    assert (comment[0], everything) == ("#", "*")
    needed = {"Containerfile", *copied_files()}
    assert {line.removeprefix("!") for line in sent if line.startswith("!")} == needed


@pytest.mark.parametrize("name", ["postgres", "redis", "s3"])
def test_each_server_starts_again_and_has_a_version(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["restart"] == "unless-stopped"
    assert re.search(r":[\w.-]*\d[\w.-]*$", service["image"])


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
