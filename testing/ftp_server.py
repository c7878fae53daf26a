"""An ftp server on the loopback with one file, whose connections may break."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import ClassVar


class Session(StreamRequestHandler):
    """A session with the commands that a download needs."""

    name: ClassVar[str]
    content: ClassVar[bytes]
    modified: ClassVar[str]
    cuts: ClassVar[list[int]]
    commands: ClassVar[list[str]]

    def handle(self) -> None:
        self.start = 0
        self.say("220 Welcome")
        while line := self.rfile.readline().decode().strip():
            self.commands.append(line)
            command, _, argument = line.partition(" ")
            if command == "USER":
                self.say("331 And the password?")
            elif command == "PASV":
                self.passive()
            elif command == "REST":
                self.start = int(argument)
                self.say("350 Go on")
            elif command == "MLSD":
                facts = f"type=file;size={len(self.content)};modify={self.modified};"
                self.send(f"{facts} {self.name}\r\n".encode())
            elif command == "RETR" and argument.lstrip("/") == self.name:
                rest = self.content[self.start :]
                self.send(rest[: self.cuts.pop(0)] if self.cuts else rest)
            elif command == "RETR":
                self.say("550 No such file")
            else:
                self.say("230 Fine")

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())

    def passive(self) -> None:
        """Offer a port for data, at a foreign address, which a safe client ignores."""
        self.listener = socket.create_server(("127.0.0.1", 0))
        high, low = divmod(self.listener.getsockname()[1], 256)
        self.say(f"227 Entering Passive Mode (10,0,0,1,{high},{low})")

    def send(self, content: bytes) -> None:
        self.say("150 Here it comes")
        connection, _ = self.listener.accept()
        with self.listener, connection:
            connection.sendall(content)
        self.start = 0
        self.say("226 Done")


@contextmanager
def ftp_serving(
    name: str, content: bytes, modified: str, cuts: list[int]
) -> Iterator[tuple[int, list[str]]]:
    """Serve a file in the root folder; yield the port and the list of commands received.

    The modification time is written as YYYYMMDDHHMMSS. The first transfers break after so many
    bytes as `cuts` says.
    """
    commands: list[str] = []
    attributes = {
        "name": name, "content": content, "modified": modified, "cuts": cuts, "commands": commands
    }  # fmt: skip
    with ThreadingTCPServer(("127.0.0.1", 0), type("Handler", (Session,), attributes)) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1], commands
        finally:
            server.shutdown()
            thread.join()
