"""What the tests of sources share."""

from hashlib import sha256


class Bytes:
    """A sink in memory."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, chunk: bytes) -> None:
        self.content += chunk

    def restart(self) -> None:
        self.content = b""

    def hexdigest(self) -> str:
        return sha256(self.content).hexdigest()
