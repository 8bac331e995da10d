"""The weights of the deformation field."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class FieldWeights(NamedTuple):
    """Weights of two hidden layers and two linear heads, in the order of the bitstream.

    Attributes:
        w1: First layer's weights; columns in the order f_s, f_d, gamma(t) of Eq. (7). [width, Fs + Fd + n_time].
        b1: First layer's bias. [width].
        w2: Second layer's weights. [width, width].
        b2: Second layer's bias. [width].
        w_means: Weights of the displacement's head. [2, width].
        b_means: Bias of the displacement's head. [2].
        w_colors: Weights of the colour change's head. [3, width].
        b_colors: Bias of the colour change's head. [3].
    """

    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    w_means: Tensor
    b_means: Tensor
    w_colors: Tensor
    b_colors: Tensor
