"""Where the processes that share a run meet: a store of torch in one process, to which the others connect."""

import socket
import sys
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]

HERE = "127.0.0.1"


class Meeting(BaseModel):
    """A point where processes meet.

    Attributes:
        host: Name or address of the machine; the default is for processes of one machine.
        port: Its port.
        room: What the names of all entries begin with; "" if the store is there for these processes alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = HERE
    port: int
    room: str = ""

    def inside(self, room: str) -> "Meeting":
        """Return the same point with a room of its own for some of the processes."""
        return self.model_copy(update={"room": f"{self.room}/{room}"})

    def connect(self) -> "Store":
        """Return a new connection. It must not be used by two threads: one that waits would block the other."""
        from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

        store = TCPStore(self.host, self.port, is_master=False, wait_for_workers=False)
        return PrefixStore(self.room, store) if self.room else store

    def interface(self) -> str:
        """Return the network interface by which this machine reaches the point, "" if that cannot be found."""
        if self.host == HERE:
            return "lo0" if sys.platform == "darwin" else "lo"
        import psutil

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # sends nothing
            probe.connect((self.host, self.port))
            own = probe.getsockname()[0]
        interfaces = psutil.net_if_addrs().items()
        return next((name for name, places in interfaces if any(place.address == own for place in places)), "")


def open_meeting(host: str = HERE, port: int = 0) -> "tuple[TCPStore, Meeting]":
    """Return a new store, which ends with its last reference, and where it is. port: 0 for any that is free.

    host: Address that it listens at, "" for all of this machine; torch by itself would always take all. Raises OSError if
    the address or port cannot be used.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    listening = socket.create_server((host, port))
    port = listening.getsockname()[1]
    store = TCPStore(HERE, port, is_master=True, wait_for_workers=False, master_listen_fd=listening.detach())
    return store, Meeting(port=port)
