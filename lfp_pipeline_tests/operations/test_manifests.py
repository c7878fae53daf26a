"""The manifests for Kubernetes, validated against its schemas."""

import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from pydantic import SecretStr

from lfp_pipeline.errors import OperationRefusedError
from lfp_pipeline.operations.manifests import manifests
from lfp_pipeline.settings import Settings, load_settings

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
    text = manifests(settings, "registry.example/lfp:1", "shop", "lfp", 4)
    assert "s3cret" not in text
    assert "@" not in text.replace("@namespace", "")
    found = list(yaml.safe_load_all(text))
    return {(document["kind"], document["metadata"]["name"]): document for document in found}


@pytest.mark.parametrize("version", VERSIONS)
def test_each_manifest_is_valid(settings: Settings, version: str) -> None:
    validate = pytest.importorskip("kubernetes_validate").validate
    found = documents(settings)
    assert len(found) == 7
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
        ["dagster", "api", "execute_run", "{}"],
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
        manifests(settings.model_copy(update={"raw": None, "inbox": "/in"}), "i", "n", "s", 1)
