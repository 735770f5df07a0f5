import numpy as np
import pytest

from edgekd.contracts import ImageSpec, IoSpec, TensorSpec
from edgekd.recipes.tryon.data import datasets

HEIGHT, WIDTH = 96, 64  # multiples of 32, small enough for tests
PICTURE = ImageSpec(scale=1 / 127.5, mean=(1.0, 1.0, 1.0))


def io_spec(height=HEIGHT, width=WIDTH):
    def tensor(name, channels, image=None):
        return TensorSpec(name=name, shape=(1, channels, height, width), layout="NCHW", image=image)

    return IoSpec(
        inputs=(tensor("person", 3, PICTURE), tensor("clothes", 3, PICTURE), tensor("clothes_edge", 1)),
        outputs=(tensor("tryon", 3), tensor("warped_cloth", 3), tensor("grid", 2)),
    )


@pytest.fixture(scope="session")
def wardrobe(tmp_path_factory):
    """Three small sets of drawn people."""
    cache = tmp_path_factory.mktemp("wardrobe")
    return datasets(["wardrobe:6"], (HEIGHT, WIDTH), 0, {"val": 2, "test": 4}, cache, lambda what, share: None)


@pytest.fixture
def io():
    return io_spec()


@pytest.fixture
def person():
    return np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture
def garment():
    """A garment and its mask, of another size than the person."""
    rng = np.random.default_rng(2)
    mask = np.zeros((120, 80), np.uint8)
    mask[20:100, 16:64] = 255
    return rng.integers(0, 256, (120, 80, 3), dtype=np.uint8), mask
