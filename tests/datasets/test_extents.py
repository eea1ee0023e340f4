"""How large protocols are by their official lists."""

import pytest

from trackablate.datasets.protocols import PROTOCOLS, official_extent

TOTALS = {"tnl2k": 516_038, "nfs": 47_953, "uav123": 112_578, "otb": 59_035, "synthetic": 4000, "synthetic-smoke": 32}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_has_an_extent(name: str) -> None:
    extent = official_extent(name)
    assert len(extent.lengths) > 1
    assert min(extent.lengths.values()) >= 1
    assert extent.source
    assert ("published total" in extent.source) == (name not in TOTALS)
    if name in TOTALS:
        assert extent.frames == TOTALS[name]


def test_a_published_total_is_spread_over_the_sequences() -> None:
    extent = official_extent("lasot")
    assert len(extent.lengths) == 280
    assert extent.frames == pytest.approx(685_360, rel=1e-3)


def test_generated_lengths_need_no_planning() -> None:
    made = PROTOCOLS["synthetic"].open(None)
    assert made.lengths() == (50,) * 80
