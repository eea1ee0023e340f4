"""One machine's connection to the others that share its runs.

A thread does the talking, so that no machine waits for ever for one that hangs.
"""

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from trackablate.datasets.errors import DataError
from trackablate.harness.errors import BadInput, RunFailed
from trackablate.harness.running.queue import result_of
from trackablate.harness.running.tasks import Reply
from trackablate.harness.training.meeting import Meeting

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

ROUND_SECONDS = 0.2
FAREWELL = "farewell"
"""The entry by which machine 0 says how its work ended."""
SILENT_SECONDS = 20.0
"""Seconds without a sign of life after which a machine is lost."""
CONNECT_SECONDS = 60.0
"""How long a meeting point may take to answer. A program that never answers would else be waited for without end."""
PART = 2**20
"""Characters of a part of a longer text: torch ends the connection for an entry of 8 MB."""
_IN_PARTS = re.compile(rb"in (\d{1,4}) parts")
FOREIGN = "says what this program never says: choose another port, which nobody else uses"
M = TypeVar("M", bound=BaseModel)


class Link:
    """The connection. As a context it ends when the machine's part is over.

    Entries of the meeting point are said once and never changed, except each machine's sign of life.

    Raises:
        BadInput: Another machine has this one's number, or another program is at the meeting point.
    """

    def __init__(self, meeting: Meeting, node: int, nodes: int) -> None:
        self.meeting, self.node = meeting, node
        self.names = [f"node {number}" for number in range(nodes)]
        self._store = _connected(meeting)
        if self._store.add(f"number {node}", 1) > 1:
            raise BadInput(f"two machines say --node-rank {node}: give each its own, from 0 to {nodes - 1}")
        self._watched = range(1, nodes) if node == 0 else range(1)
        self._said: SimpleQueue[tuple[str, str]] = SimpleQueue()
        self._asked: set[str] = set()
        self._heard: dict[str, str] = {}
        self._signs: dict[int, tuple[str, float]] = {}
        self._rounds, self._last, self._fault = 0, time.monotonic(), ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._talk, daemon=True)

    def __enter__(self) -> "Link":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(SILENT_SECONDS)

    def say(self, entry: str, text: str = "") -> None:
        """Tell all machines something, soon."""
        self._said.put((entry, text))

    def heard(self, entry: str) -> str | None:
        """Return what a machine has said, None while nobody has, as far as this one knows."""
        self._asked.add(entry)
        return self._heard.get(entry)

    def came(self, number: int) -> bool:
        """Return whether a machine that this one watches has given a sign of life."""
        return number in self._signs

    def lost(self) -> Reply | None:
        """Return why the machines cannot go on, None if they can: one has ended with an error, or is silent."""
        for number, entry in [(0, FAREWELL), *((number, f"lost {number}") for number in self._watched)]:
            if (text := self.heard(entry)) is not None:
                reply = reply_of(text)
                if reply.status != "done":
                    return reply.model_copy(update={"text": f"{self.names[number]} {reply.text}"})
        return self.cut

    @property
    def cut(self) -> Reply | None:
        """Why this machine hears nothing of any other, None if it does."""
        if not self._fault and time.monotonic() - self._last < SILENT_SECONDS:
            return None
        reason = self._fault or f"no answer for {SILENT_SECONDS:.0f} s"
        text = f"{self.names[0]} has gone, or {self.meeting.host}:{self.meeting.port} is cut off: {reason}"
        return Reply(status="died", text=text)

    def wait(self, entry: str, limit: float, why: Callable[[], str]) -> str:
        """Return what a machine says. Raises BadInput after `limit` seconds with the text of `why`, or as `refuse_lost`."""
        end = time.monotonic() + limit
        while (text := self.heard(entry)) is None:
            self.refuse_lost()
            if time.monotonic() > end:
                raise BadInput(why())
            time.sleep(ROUND_SECONDS / 4)
        return text

    def refuse_lost(self) -> None:
        """Raise BadInput or RunFailed if the machines cannot go on."""
        if (reply := self.lost()) is not None:
            result_of(reply)

    def flush(self) -> None:
        """Wait until all that this machine has said is out, unless the connection is gone."""
        before = self._rounds + 1  # the round at work may have looked already
        while self._rounds <= before and not self._fault and time.monotonic() - self._last < SILENT_SECONDS:
            time.sleep(ROUND_SECONDS / 4)

    def _talk(self) -> None:
        while not self._ended.wait(ROUND_SECONDS):
            try:
                self._round()
            except RuntimeError as error:
                self._fault = str(error).splitlines()[0]
                return

    def _round(self) -> None:
        while not self._said.empty():
            self._set(*self._said.get())
        self._store.set(f"sign {self.node}", str(self._rounds))
        for entry in [entry for entry in list(self._asked) if entry not in self._heard]:
            if self._store.check([entry]):
                self._heard[entry] = self._get(entry).decode(errors="replace")
        for number in self._watched:
            if self._store.check([f"sign {number}"]):
                sign = self._store.get(f"sign {number}").decode(errors="replace")
                before, since = self._signs.get(number, ("", 0.0))
                if sign != before:
                    self._signs[number] = sign, time.monotonic()
                elif time.monotonic() - since > SILENT_SECONDS and not self._store.check([f"lost {number}"]):
                    silent = Reply(status="died", text=f"gave no sign of life for {SILENT_SECONDS:.0f} s")
                    self._store.set(f"lost {number}", silent.model_dump_json())
        self._rounds, self._last = self._rounds + 1, time.monotonic()

    def _set(self, entry: str, text: str) -> None:
        if len(text) > PART:
            parts = [text[at : at + PART] for at in range(0, len(text), PART)]
            for number, part in enumerate(parts):
                self._store.set(_part(entry, number), part)
            text = f"in {len(parts)} parts"
        self._store.set(entry, text)  # last: the parts are there as soon as it is

    def _get(self, entry: str) -> bytes:
        content = self._store.get(entry)
        if found := _IN_PARTS.fullmatch(content):
            names = [_part(entry, number) for number in range(int(found[1]))]
            if self._store.check(names):
                return b"".join(map(self._store.get, names))
        return content


def _part(entry: str, number: int) -> str:
    return f"{entry}, part {number}"


def _connected(meeting: Meeting) -> "Store":
    import torch.distributed  # noqa: F401  (here, so that the limit is for the answer alone)

    found: SimpleQueue[Store | RuntimeError] = SimpleQueue()

    def connect() -> None:
        try:
            found.put(meeting.connect())
        except RuntimeError as error:
            found.put(error)

    threading.Thread(target=connect, daemon=True).start()
    with suppress(Empty):
        if not isinstance(answer := found.get(timeout=CONNECT_SECONDS), RuntimeError):
            return answer
    raise BadInput(f"{meeting.host}:{meeting.port} does not answer as this program does: choose another port")


def parsed(model: type[M], text: str) -> M:
    """Return what another machine has said. Raises BadInput, to be put behind its name, if this program never says that."""
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise BadInput(FOREIGN) from error


def reply_of(text: str) -> Reply:
    """Return how another machine's work has ended: with bad input if what it says is no reply."""
    try:
        return parsed(Reply, text)
    except BadInput as error:
        return Reply(status="bad input", text=str(error))


def last_words(error: BaseException) -> Reply:
    """Return what a machine tells the others of the error that ends its part; they put its name before it."""
    if isinstance(error, BadInput | DataError):
        return Reply(status="bad input", text=f"says: {error}")
    if isinstance(error, RunFailed):
        return Reply(status="failed", text=f"says: {error}")
    return Reply(status="died", text=f"ended ({type(error).__name__}{f': {error}' if str(error) else ''})")
