"""The input embedding: positions and token types, each choice against its description, by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor

from trackablate.trackers.encoder.backbones import resized, sine_cosine_positions
from trackablate.trackers.encoder.embeddings import TokenEmbedding
from trackablate.trackers.spec import InputEmbedding

DIM, TEMPLATE, SEARCH = 8, 2, 4
GRID = torch.randn(1, DIM, 5, 5, generator=torch.Generator().manual_seed(0))
ZEROS = torch.zeros(2, TEMPLATE**2, DIM), torch.zeros(2, SEARCH**2, DIM)
MASK = torch.tensor([[True, False, False, True], [False, False, False, False]])


def embedded(mask: Tensor | None = None, **fields: Any) -> tuple[TokenEmbedding, Tensor, Tensor]:
    torch.manual_seed(1)
    embedding = TokenEmbedding(InputEmbedding(**fields), GRID, DIM, TEMPLATE, SEARCH)
    with torch.no_grad():
        return embedding, *embedding(*ZEROS, mask)


def test_separate_positions_are_each_the_grid_resized() -> None:
    embedding, template, search = embedded()
    assert template[0].equal(resized(GRID, TEMPLATE)[0])
    assert search[1].equal(resized(GRID, SEARCH)[0])
    assert sorted(name for name, _ in embedding.named_parameters()) == ["search_positions", "template_positions"]


def test_shared_positions_are_the_search_grids_resized_again_or_its_corner() -> None:
    table = resized(GRID, SEARCH)
    on_map = table.transpose(1, 2).reshape(1, DIM, SEARCH, SEARCH)
    for how, expected in (
        ("interpolate", resized(on_map, TEMPLATE)[0]),
        ("slice", torch.stack([table[0, i] for i in (0, 1, 4, 5)])),
    ):
        embedding, template, search = embedded(positions="shared", template_positions=how)
        torch.testing.assert_close(template[0], expected)
        assert search[0].equal(table[0])
        assert [name for name, _ in embedding.named_parameters()] == ["search_positions"]
    assert not resized(on_map, TEMPLATE)[0].allclose(torch.stack([table[0, i] for i in (0, 1, 4, 5)]))


def test_the_plain_bicubic_resize_is_torchs() -> None:
    expected = torch.nn.functional.interpolate(GRID, size=(SEARCH, SEARCH), mode="bicubic", align_corners=False)
    assert resized(GRID, SEARCH).equal(expected.flatten(2).transpose(1, 2))
    assert resized(GRID, 5).equal(GRID.flatten(2).transpose(1, 2)), "left alone where the size is right"


def test_sinusoidal_positions_are_fixed_and_stored_nowhere() -> None:
    embedding, template, search = embedded(positions="sinusoidal")
    assert template[0].equal(sine_cosine_positions(TEMPLATE, DIM)[0])
    assert search[0].equal(sine_cosine_positions(SEARCH, DIM)[0])
    assert not list(embedding.parameters())
    assert not embedding.state_dict()


def test_two_types_tell_template_and_search_apart() -> None:
    plain = embedded()
    embedding, template, search = embedded(token_types=2)
    types = embedding.token_types
    torch.testing.assert_close(template - plain[1], types[0].expand_as(template))
    torch.testing.assert_close(search - plain[2], types[1].expand_as(search))
    assert types.shape == (2, DIM)


def test_three_types_tell_the_targets_tokens_apart() -> None:
    plain = embedded()
    embedding, template, search = embedded(MASK, token_types=3)
    types = embedding.token_types
    torch.testing.assert_close(template - plain[1], types[MASK.long()])
    torch.testing.assert_close(search - plain[2], types[2].expand_as(search))
    with pytest.raises(ValueError, match="needs the template's mask"):
        embedding(*ZEROS, None)


def test_types_start_near_zero() -> None:
    torch.manual_seed(0)
    types = TokenEmbedding(InputEmbedding(token_types=3), torch.zeros(1, 4096, 2, 2), 4096, 2, 2).token_types
    assert types.std().item() == pytest.approx(0.02, rel=0.03)


def test_a_backbone_without_a_table_adds_no_positions() -> None:
    for fields in ({}, {"positions": "shared", "template_positions": "slice"}):
        embedding = TokenEmbedding(InputEmbedding.model_validate(fields), None, DIM, TEMPLATE, SEARCH)
        assert not any(part.any() for part in embedding(*ZEROS, None))
        assert not list(embedding.parameters())
    sinusoidal = TokenEmbedding(InputEmbedding(positions="sinusoidal"), None, DIM, TEMPLATE, SEARCH)
    assert sinusoidal(*ZEROS, None)[1][0].equal(sine_cosine_positions(SEARCH, DIM)[0])
    with pytest.raises(ValueError, match="no positions to train"):
        TokenEmbedding(InputEmbedding(trainable_positions=True), None, DIM, TEMPLATE, SEARCH)
