from __future__ import annotations

import numpy as np
import pytest

from stgvcodec.ops.block_search import BLOCK, REACH, block_search, reference


def pictures(height: int, width: int, move: tuple[int, int] = (0, 0), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A picture of noise, and a larger one in which its content lies `move` pixels away."""
    rng = np.random.default_rng(seed)
    other = rng.uniform(0, 255, (height + 2 * REACH, width + 2 * REACH)).astype(np.float32)
    top, left = REACH + move[0], REACH + move[1]
    return other[top : top + height, left : left + width].copy(), other


@pytest.mark.parametrize("move", [(0, 0), (1, 0), (-4, 4), (3, -2)], ids=str)
def test_a_move_is_found(move):
    error, distance = block_search(*pictures(24, 40, move))

    assert error.shape == distance.shape == (3, 5)
    np.testing.assert_array_equal(error, 0.0)
    np.testing.assert_allclose(distance, np.hypot(*move), rtol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (24, 40), (96, 160), (0, 8), (8, 0)])
def test_the_kernel_agrees_with_the_reference(height, width):
    now, other = pictures(height, width, (2, 1), seed=height)
    now += np.random.default_rng(1).normal(0, 20, now.shape).astype(np.float32)

    error, distance = block_search(now, other)
    expected_error, expected_distance = reference.block_search(now, other)

    np.testing.assert_allclose(error, expected_error, rtol=1e-5)
    np.testing.assert_array_equal(distance, expected_distance)


def test_a_flat_block_stays_where_it_is():
    now = np.full((BLOCK, BLOCK), 7.0, np.float32)
    other = np.full((BLOCK + 2 * REACH, BLOCK + 2 * REACH), 7.0, np.float32)
    other[0] += 0.01

    assert block_search(now, other)[1].item() == 0.0


@pytest.mark.parametrize(
    ("now", "other"),
    [
        (np.zeros((9, 8), np.float32), np.zeros((17, 16), np.float32)),
        (np.zeros((8, 8), np.float32), np.zeros((8, 8), np.float32)),
        (np.zeros((8, 8)), np.zeros((16, 16), np.float32)),
    ],
    ids=["sides", "margin", "dtype"],
)
def test_other_pictures_are_refused(now, other):
    with pytest.raises(ValueError, match="expected"):
        block_search(now, other)
