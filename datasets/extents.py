"""How large a protocol is by its official list, for planning where its data are not: sequences, frames, and who says so."""

from dataclasses import dataclass

from trackablate.datasets.benchmark import Protocol
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.datasets.reading.reader import Part
from trackablate.datasets.reading.tables import rows

_COUNTED = {"nfs": "nfs.csv", "tnl2k": "tnl2k_test.csv"}
"""Protocols whose list says how many frames each sequence has, in a column `frames`."""


@dataclass(frozen=True)
class Extent:
    """The official sequences with their frames. exact: whether every sequence's own number is known; else all have the
    mean of a published total. source: who says so.
    """

    lengths: dict[str, int]
    exact: bool
    source: str

    @property
    def frames(self) -> int:
        """Frames in all."""
        return sum(self.lengths.values())


def official_extent(name: str) -> Extent:
    """The extent of a protocol by its official list. Raises UnknownName for no protocol, ValueError where nothing is known
    of its length, which a test rules out for the protocols there are.
    """
    protocol = PROTOCOLS[name]
    if protocol.data is None:
        made = protocol.open(None)
        return Extent(dict(zip(made.names, made.lengths(), strict=True)), True, protocol.source)
    if file := _COUNTED.get(name):
        return Extent({row["name"]: int(row["frames"]) for row in rows(file)}, True, f"the official list, {file}")
    return _by_clips(protocol)


def _by_clips(protocol: Protocol) -> Extent:
    """From the first and last frames in the list, or from the published total."""
    assert isinstance(protocol.open, Part)
    clips = protocol.open.clips()
    if all(clip.first is not None and clip.last is not None for clip in clips):
        lengths = {c.name: (c.last or 0) - (c.first or 0) + 1 - c.skip for c in clips}
        return Extent(lengths, True, "first and last frames in the official list")
    total, source = _published_total(protocol.name)
    return Extent(
        {clip.name: max(1, round(total / len(clips))) for clip in clips}, False, f"a published total: {source}"
    )


def _published_total(name: str) -> tuple[int, str]:
    for row in rows("frame_totals.csv"):
        if row["protocol"] == name:
            return int(row["frames"]), row["source"]
    raise ValueError(f"no number of frames is known of {name}: add it to datasets/splits/frame_totals.csv")
