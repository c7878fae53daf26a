"""What the tests of sources share."""


class Bytes:
    """A sink in memory."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, chunk: bytes) -> None:
        self.content += chunk

    def restart(self) -> None:
        self.content = b""
