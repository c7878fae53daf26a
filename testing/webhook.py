"""A project whose failure sensor posts to a webhook, which is a real server."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testing.dagster_project import Project, project_in
from testing.http_server import Answer, Exchange, Server, serving

SENSOR = "failure_sensor"
HIDDEN = "s3cret"
"""A secret in the URL of the webhook, which no message may show."""


@dataclass
class Webhook:
    """A project, the server of its webhook, and the messages that were posted."""

    project: Project
    server: Server
    posted: list[dict[str, Any]]

    def tick(self) -> Any:  # noqa: ANN401 (not exported)
        """Evaluate the sensor, from its cursor on."""
        tick = self.project.tick(SENSOR)
        assert all(reaction.error is None for reaction in tick.dagster_run_reactions)
        return tick


@contextmanager
def webhook(tmp_path: Path, home: Path, *answers: Answer) -> Iterator[Webhook]:
    """Answer the first posts with these answers, and accept and keep the later ones."""
    posted: list[dict[str, Any]] = []

    def accept(exchange: Exchange) -> None:
        posted.append(json.loads(exchange.rfile.read(int(exchange.headers["Content-Length"]))))
        exchange.head(200, Content_Length=0)

    with serving(*answers, accept) as server:
        url = server.url(f"/hooks/{HIDDEN}?key={HIDDEN}")
        with project_in(tmp_path, home, webhook_url=url) as project:
            found = Webhook(project, server, posted)
            found.tick()  # Runs that failed before this first tick are not posted.
            yield found
