"""The manifests for Kubernetes, validated against its schemas."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from pydantic import SecretStr

from lfp_pipeline.errors import OperationRefusedError, SettingsError
from lfp_pipeline.operations.manifests import manifests
from lfp_pipeline.settings import Settings, load_settings
from lfp_pipeline.sources.sources_file import read_sources
from testing.processes import PROJECT

VERSIONS = ("1.30.0", "1.34.0")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path,
        catalog=SecretStr("postgresql://lfp:s3cret@db.example/lfp"),
        lake="s3://a-bucket/lake",
        raw="s3://a-bucket/raw",
        inbox="s3://a-bucket/inbox",
        max_workers=20,
        memory_limit="2GB",
        null_tokens=("NULL", "-"),
        column_aliases={"sku": ["article no"]},
        require_all_cells=True,
        freshness_hours=24.5,
    )


def documents(settings: Settings) -> dict[tuple[str, str], Any]:
    text = manifests(settings, "registry.example/lfp:1", "shop", "lfp", 4, 50)
    assert "s3cret" not in text
    assert not re.search(r"@\w+@", text)
    found = list(yaml.safe_load_all(text))
    return {(document["kind"], document["metadata"]["name"]): document for document in found}


@pytest.mark.parametrize("version", VERSIONS)
def test_each_manifest_is_valid(settings: Settings, version: str) -> None:
    validate = pytest.importorskip("kubernetes_validate").validate
    found = documents(settings)
    assert len(found) == 9
    for document in found.values():
        assert document["metadata"]["namespace"] == "shop"
        validate(document, version, strict=True)


def test_pods_get_the_settings_of_the_project(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = documents(settings)["ConfigMap", "lfp-settings"]["data"]
    assert all(isinstance(value, str) for value in data.values())
    for name in list(os.environ):
        if name.startswith("LFP_"):
            monkeypatch.delenv(name)
    for name, value in data.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LFP_CATALOG", "postgresql://lfp:s3cret@db.example/lfp")
    monkeypatch.setenv("LFP_DATA_DIR", str(settings.data_dir))
    (settings.data_dir / "sources.yaml").touch()
    monkeypatch.setenv("LFP_SOURCES_FILE", str(settings.data_dir / "sources.yaml"))
    omitted = {"threads", "sources_file"}
    assert load_settings().model_dump(exclude=omitted) == settings.model_dump(exclude=omitted)
    assert load_settings().threads == 4


def test_the_instance_of_the_pods_is_valid_and_limits_runs(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, catalog_url: SecretStr
) -> None:
    pytest.importorskip("dagster_k8s")
    from dagster._core.instance.config import dagster_instance_config  # noqa: PLC0415

    text = documents(settings)["ConfigMap", "lfp-dagster"]["data"]["dagster.yaml"]
    (tmp_path / "dagster.yaml").write_text(text)
    monkeypatch.setenv("LFP_CATALOG", catalog_url.get_secret_value())
    config, _ = dagster_instance_config(str(tmp_path))
    assert config["run_coordinator"]["config"]["max_concurrent_runs"] == 20


@pytest.mark.parametrize("version", VERSIONS)
def test_the_job_of_a_run_is_valid(settings: Settings, version: str) -> None:
    validate = pytest.importorskip("kubernetes_validate").validate
    job = job_of_a_run(settings)
    validate(job, version, strict=True)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "registry.example/lfp:1"
    assert container["resources"]["limits"]["memory"] == f"{-(-(4 * 10**9 + 2**30) // 2**20)}Mi"
    assert {"secretRef": {"name": "lfp"}} in container["envFrom"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert job["spec"]["backoffLimit"] == 0, "a run must not begin twice"
    assert "s3cret" not in str(job)
    assert container["resources"]["requests"]["ephemeral-storage"] == "52Gi"
    limits = {volume["name"]: volume.get("emptyDir") for volume in pod["volumes"]}
    assert limits["project"] == {"sizeLimit": "50Gi"}
    assert limits["home"] == limits["tmp"] == {"sizeLimit": "1Gi"}


def test_the_job_of_a_run_starts_dagster_in_the_image(settings: Settings) -> None:
    """The image has an entry point, and the launcher gives arguments only."""
    (container,) = job_of_a_run(settings)["spec"]["template"]["spec"]["containers"]
    (entry_point,) = re.findall(r"(?m)^ENTRYPOINT (.*)$", (PROJECT / "Containerfile").read_text())
    command = [*container.get("command", json.loads(entry_point)), *container["args"]]
    assert command[-2:] == ["execute_run", "{}"]
    ended = subprocess.run(
        [*command[:-1], "--help"],
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "INPUT_JSON" in ended.stdout


def job_of_a_run(settings: Settings) -> Any:  # noqa: ANN401
    """Return the job that Dagster's launcher creates with this configuration."""
    dagster_k8s = pytest.importorskip("dagster_k8s.job")
    import kubernetes  # noqa: PLC0415
    from dagster._config import process_config, resolve_to_config_type  # noqa: PLC0415
    from dagster_k8s.container_context import K8sContainerContext  # noqa: PLC0415
    from dagster_k8s.launcher import K8sRunLauncher  # noqa: PLC0415

    text = documents(settings)["ConfigMap", "lfp-dagster"]["data"]["dagster.yaml"]
    given = yaml.safe_load(text)["run_launcher"]["config"]
    processed = process_config(resolve_to_config_type(K8sRunLauncher.config_type()), given)
    assert processed.success, processed.errors
    config = processed.value | {"load_incluster_config": False, "kubeconfig_file": _kubeconfig()}
    launcher = K8sRunLauncher(**config)
    context = K8sContainerContext.create_for_run(_run(), launcher, include_run_tags=False)
    job = dagster_k8s.construct_dagster_k8s_job(
        context.get_k8s_job_config(None, launcher),
        ["python", "-m", "dagster", "api", "execute_run", "{}"],
        f"dagster-run-{uuid4()}",
        context.run_k8s_config,
        component="run_worker",
    )
    return kubernetes.client.ApiClient().sanitize_for_serialization(job)


def _run() -> Any:  # noqa: ANN401
    import dagster as dg  # noqa: PLC0415

    return dg.DagsterRun(job_name="ingest_inbox", run_id=str(uuid4()))


def _kubeconfig() -> str:
    return str(Path(__file__).with_name("kubeconfig.yaml"))


def test_folders_are_refused(settings: Settings) -> None:
    with pytest.raises(OperationRefusedError, match=r"prefix\): LFP_RAW, LFP_INBOX\."):
        manifests(settings.model_copy(update={"raw": None, "inbox": "/in"}), "i", "n", "s", 1, 50)


SOURCES = """
sources:
  - name: shop  # With the old password, tr0ub4dor.
    location: https://${SHOP_USER}:${SHOP_PASSWORD}@shop.example/products.csv
    interval: 300
    sha256: "0000000000000000000000000000000000000000000000000000000000000123"
    delimiter: "#"
"""


def test_head_and_runs_have_the_sources_file_without_a_secret(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_USER", "us3r")
    monkeypatch.setenv("SHOP_PASSWORD", "passw0rd")
    file = tmp_path / "sources.yaml"
    file.write_text(SOURCES)
    settings = settings.model_copy(update={"sources_file": file})
    found = documents(settings)
    (text,) = found["ConfigMap", "lfp-sources"]["data"].values()
    assert not [secret for secret in ("us3r", "passw0rd", "tr0ub4dor") if secret in str(found)]
    in_pod = tmp_path / "in-pod.yaml"
    in_pod.write_text(text)
    assert read_sources(in_pod) == read_sources(file)
    head = found["Deployment", "lfp-head"]["spec"]["template"]["spec"]
    run = job_of_a_run(settings)["spec"]["template"]["spec"]
    place = found["ConfigMap", "lfp-settings"]["data"]["LFP_SOURCES_FILE"]
    for pod in (head, run):
        assert {"name": "sources", "configMap": {"name": "lfp-sources"}} in pod["volumes"]
        for container in pod["containers"]:
            assert {"name": "sources", "mountPath": place, "subPath": "sources.yaml"} in (
                container["volumeMounts"]
            )


def test_a_project_without_sources_gives_the_pods_an_empty_file(
    settings: Settings, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"sources_file": tmp_path / "none.yaml"})
    (text,) = documents(settings)["ConfigMap", "lfp-sources"]["data"].values()
    in_pod = tmp_path / "in-pod.yaml"
    in_pod.write_text(text)
    assert read_sources(in_pod) == {}


def test_a_secret_in_the_sources_file_is_refused(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "sources.yaml"
    file.write_text("sources: [{name: shop, location: 'https://a:passw0rd@shop.example/x.csv'}]")
    with pytest.raises(SettingsError, match="there is a password in it") as raised:
        documents(settings.model_copy(update={"sources_file": file}))
    assert "passw0rd" not in str(raised.value)


def test_a_signature_in_the_sources_file_is_refused(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_SIGNATURE", "t0ps3cret")
    file = tmp_path / "sources.yaml"
    settings = settings.model_copy(update={"sources_file": file})
    entry = "sources: [{{name: shop, location: 'https://shop.example/x.csv?sv=1&sig={}'}}]"
    file.write_text(entry.format("t0ps3cret"))
    with pytest.raises(SettingsError, match="shop have signatures") as raised:
        documents(settings)
    assert "t0ps3cret" not in str(raised.value)
    file.write_text(entry.format("${SHOP_SIGNATURE}"))
    (text,) = documents(settings)["ConfigMap", "lfp-sources"]["data"].values()
    assert "${SHOP_SIGNATURE}" in text


def test_a_change_of_a_config_map_starts_the_head_again(settings: Settings) -> None:
    def template(settings: Settings) -> Any:  # noqa: ANN401
        return documents(settings)["Deployment", "lfp-head"]["spec"]["template"]["metadata"]

    assert template(settings) == template(settings)
    assert template(settings) != template(settings.model_copy(update={"null_tokens": ()}))


def test_nothing_but_port_forwarding_reaches_the_page_which_has_no_password(
    settings: Settings,
) -> None:
    found = documents(settings)
    policy = found["NetworkPolicy", "lfp-head"]["spec"]
    assert (policy["policyTypes"], policy.get("ingress")) == (["Ingress"], None)
    head = found["Deployment", "lfp-head"]["spec"]["template"]
    assert policy["podSelector"]["matchLabels"] == head["metadata"]["labels"]
    assert found["Service", "lfp-head"]["spec"]["type"] == "ClusterIP"
