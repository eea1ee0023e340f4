"""The sequences and frames of a protocol by its official list, for planning without its data."""

from dataclasses import dataclass

from trackablate.datasets.protocols import PROTOCOLS
from trackablate.datasets.reading.reader import Part
from trackablate.datasets.reading.tables import rows

_COUNTED = {"nfs": "nfs.csv", "tnl2k": "tnl2k_test.csv"}
"""Protocols whose list has the number of frames of each sequence, in a column `frames`."""


@dataclass(frozen=True)
class Extent:
    """The size of a protocol.

    Attributes:
        lengths: Frames by official sequence; for a protocol with only a published total, the mean for each.
        source: Where the numbers come from.
    """

    lengths: dict[str, int]
    source: str

    @property
    def frames(self) -> int:
        """Number of all frames."""
        return sum(self.lengths.values())


def official_extent(name: str) -> Extent:
    """Return the extent of a protocol by its official list.

    Raises:
        UnknownName: There is no such protocol.
        ValueError: Its length is not known. A test makes sure that every shipped protocol has one.
    """
    protocol = PROTOCOLS[name]
    if protocol.data is None:
        made = protocol.open(None)
        return Extent(dict(zip(made.names, made.lengths(), strict=True)), protocol.source)
    if file := _COUNTED.get(name):
        return Extent({row["name"]: int(row["frames"]) for row in rows(file)}, f"the official list, {file}")
    assert isinstance(protocol.open, Part)
    clips = protocol.open.clips()
    lengths = {clip.name: clip.span - clip.skip for clip in clips if clip.span is not None}
    if len(lengths) == len(clips):
        return Extent(lengths, "first and last frames in the official list")
    total, source = _published_total(name)
    return Extent({clip.name: max(1, round(total / len(clips))) for clip in clips}, f"a published total: {source}")


def _published_total(name: str) -> tuple[int, str]:
    for row in rows("frame_totals.csv"):
        if row["protocol"] == name:
            return int(row["frames"]), row["source"]
    raise ValueError(f"the number of frames of {name} is not known: add it to datasets/splits/frame_totals.csv")
