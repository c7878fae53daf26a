"""Serve a folder's product file as a feed, until SIGTERM or SIGINT."""

import argparse
import signal
import sys
from pathlib import Path

from examples.feed_server.faults import Faults
from examples.feed_server.server import FeedServer
from examples.feed_server.shop import Shop


def main() -> None:
    """Serve, after printing the URL."""
    parser = argparse.ArgumentParser(prog="python -m examples.feed_server", description=__doc__)
    parser.add_argument(
        "folder",
        type=Path,
        help="its newest CSV file is served; the folder is made if it is missing",
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at")
    parser.add_argument("--port", type=int, default=8001, help="0: any free port")
    parser.add_argument("--name", help="the title of the page (the folder's name)")
    parser.add_argument("--cut-after", type=int, help="break the first reads after so many bytes")
    parser.add_argument("--cuts", type=int, default=1, help="how many reads break")
    parser.add_argument("--slow", type=int, help="bytes per second of a read")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    shop = Shop(given.folder)
    cuts = 0 if given.cut_after is None else given.cuts
    faults = Faults(given.cut_after or 0, cuts, given.slow)
    title = given.name or given.folder.resolve().name
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit())
    with FeedServer((given.host, given.port), shop, title, faults) as server:
        print(server.url, flush=True)
        try:
            server.serve_forever()
        finally:
            shop.close()


if __name__ == "__main__":
    main()
