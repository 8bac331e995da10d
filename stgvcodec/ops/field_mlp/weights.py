"""The weights of the deformation field."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class FieldWeights(NamedTuple):
    """Weights of two hidden layers and three linear heads, in the order of the bitstream.

    The third head has S rows: 3, or 0 in a field that leaves the shapes as they are.

    Attributes:
        w1: First layer's weights; columns in the order f_s, f_d, gamma(t) of Eq. (7). [width, Fs + Fd + n_time].
        b1: First layer's bias. [width].
        w2: Second layer's weights. [width, width].
        b2: Second layer's bias. [width].
        w_means: Weights of the displacement's head. [2, width].
        b_means: Bias of the displacement's head. [2].
        w_colors: Weights of the colour change's head. [3, width].
        b_colors: Bias of the colour change's head. [3].
        w_shapes: Weights of the shape change's head. [S, width].
        b_shapes: Bias of the shape change's head. [S].
    """

    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    w_means: Tensor
    b_means: Tensor
    w_colors: Tensor
    b_colors: Tensor
    w_shapes: Tensor
    b_shapes: Tensor

    @property
    def n_shapes(self) -> int:
        """Number of outputs of the shape change's head, S."""
        return self.w_shapes.shape[0]


N_SHAPES = (0, 3)
"""The numbers of rows that the shape change's head may have."""
