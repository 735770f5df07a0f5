import pytest
import torch

from edgekd.nn.vgg import VGG16, VGG19, Vgg


def small(blocks):
    return [[max(1, channels // 32) for channels in block] for block in blocks]


@pytest.mark.parametrize(
    ("blocks", "taps", "last", "count"),
    [(VGG16, -1, "features.28", 13), (VGG19, -1, "features.34", 16), (VGG19, 0, "features.28", 13)],
)
def test_layers_have_torchvisions_numbers_up_to_the_last_tap(blocks, taps, last, count):
    names = [name.removesuffix(".weight") for name in Vgg(small(blocks), taps).state_dict() if name.endswith("weight")]
    assert names[-1] == last
    assert len(names) == count


def test_a_map_comes_from_each_block_behind_its_relu():
    maps = Vgg(small(VGG16))(torch.randn(2, 3, 40, 24, generator=torch.Generator().manual_seed(0)))
    assert [tuple(m.shape) for m in maps] == [
        (2, 2, 40, 24),
        (2, 4, 20, 12),
        (2, 8, 10, 6),
        (2, 16, 5, 3),
        (2, 16, 2, 1),
    ]
    assert all((m >= 0).all() for m in maps)


def test_pooling_rounds_as_asked():
    picture = torch.zeros(1, 3, 19, 17)
    assert Vgg(small(VGG19), 0)(picture)[1].shape[2:] == (9, 8)
    assert Vgg(small(VGG19), 0, ceil_mode=True)(picture)[1].shape[2:] == (10, 9)
