"""`lfp cluster`: sets up and runs hosts that work together."""

import socket
import sys

import click

from lfp_pipeline.cli.dev import serve, ui_options
from lfp_pipeline.cli.layout import fit
from lfp_pipeline.cli.move import export_command, import_command
from lfp_pipeline.cli.output import FAILED, examples, json_option, print_json, say
from lfp_pipeline.cli.param_types import Text


@click.group(name="cluster")
def command() -> None:
    """Set up and run hosts that work together.

    They meet in the PostgreSQL database of LFP_CATALOG and the Redis server of LFP_BROKER.
    """


@command.command(epilog=examples("lfp cluster init"))
@click.option(
    "--take-over",
    "takes_over",
    is_flag=True,
    help="Give the files of LFP_LAKE to this database: after a restore into another database or "
    "server, and after pg_upgrade. Stop all that use the former one; it is refused from then on.",
)
def init(*, takes_over: bool) -> None:
    """Create the shared tables and buckets.

    What exists stays as it is. Several hosts may do so at once, and again after an upgrade. After
    an older copy of the database was restored, it adopts the deliveries that landed since, and
    names those that it cannot adopt; so does lfp verify.
    """
    from lfp_pipeline.cli.cluster_parts import PARTS
    from lfp_pipeline.cli.messages import message_log
    from lfp_pipeline.operations.cluster_init import init_cluster
    from lfp_pipeline.settings import load_settings

    report = init_cluster(load_settings(), PARTS, message_log(), takes_over=takes_over)
    click.echo(report.summary)
    for problem in report.problems:
        click.echo(problem, err=True)


@command.command(epilog=examples("lfp cluster head", "lfp cluster head --host 0.0.0.0"))
@ui_options
def head(port: int, host: str) -> None:
    """Start the Dagster UI and the sensors.

    They run until Ctrl-C; the workers execute the runs. One head runs at a time. A second head ends
    once the first one renews its heartbeat; if that does not happen for a minute, it takes over.
    """
    serve(port, host)


@command.command(epilog=examples("lfp cluster alive"))
def alive() -> None:
    """Check that this host works.

    The health check of a container: the exit code is 0 if a head or a worker of this host has
    renewed its heartbeat within a minute.
    """
    from lfp_pipeline.hosts.liveness import Kind, liveness_of
    from lfp_pipeline.settings import load_settings

    host = socket.gethostname()
    marks = [mark for mark in liveness_of(load_settings()).live(Kind.HOST) if mark.host == host]
    for mark in marks:
        click.echo(f"{mark.name} on {host}: last seen {mark.seconds:.0f} s ago")
    if not marks:
        say(f"No head and no worker of {host} has renewed its heartbeat within a minute.")
        sys.exit(FAILED)


@command.command(
    epilog=examples(
        "lfp cluster manifests --image registry.example.com/lfp:1 > lfp.yaml",
        "kubectl create secret generic lfp --from-env-file=lfp.env",
        "kubectl apply -f lfp.yaml",
    )
)
@click.option("--image", required=True, type=Text(), help="The container image, with its tag.")
@click.option("--namespace", default="default", show_default=True, help="The namespace.")
@click.option(
    "--secret",
    default="lfp",
    show_default=True,
    help="The Secret that has LFP_CATALOG and the credentials of the buckets, by variable.",
)
@click.option(
    "--cpus",
    type=click.IntRange(1, 256),
    default=2,
    show_default=True,
    help="Processors of a run.",
)
@click.option(
    "--disk",
    type=click.IntRange(25, 10_000),
    default=40,
    show_default=True,
    help="Scratch space of a run in GiB: copies of raw files (about 20), and what DuckDB spills.",
)
def manifests(image: str, namespace: str, secret: str, cpus: int, disk: int) -> None:
    """Print manifests for Kubernetes.

    They are made of the settings: a head that starts a job for each run. No secret is printed:
    the manifests name the Secret that has them.
    """
    from lfp_pipeline.operations.manifests import manifests as rendered
    from lfp_pipeline.settings import load_settings

    click.echo(rendered(load_settings(), image, namespace, secret, cpus, disk), nl=False)


@command.command(epilog=examples("lfp cluster status", "lfp cluster status --json"))
@json_option
def status(*, as_json: bool) -> None:
    """Show hosts, runs, queue, writer and lag.

    The lag is what waits to be merged. The exit code is 1 if there are problems.
    """
    from lfp_pipeline.cli.operate import engine_of_project
    from lfp_pipeline.operations.cluster_status import (
        cluster_status_data,
        collect_cluster_status,
        collect_lag,
        render_cluster_status,
        render_lag,
    )

    engine = engine_of_project(read_only=True)
    state = collect_cluster_status(engine)
    if not as_json:  # First, because a bucket may answer late.
        click.echo(fit(render_cluster_status(state)))
    lag = collect_lag(engine)
    if as_json:
        print_json(cluster_status_data(state, lag))
    else:
        click.echo(f"\n{fit(render_lag(lag))}")
    sys.exit(FAILED if state.problems or lag.problems else 0)


command.add_command(import_command)
command.add_command(export_command)
