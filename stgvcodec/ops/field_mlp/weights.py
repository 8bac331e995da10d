"""The weights of the deformation field."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class FieldWeights(NamedTuple):
    """Two hidden layers and two linear heads, in the order of the bitstream.

    Attributes:
        w1: First layer; columns in the order f_s, f_d, gamma(t) of Eq. (7). [width, Fs + Fd + n_time].
        b1: Its bias. [width].
        w2: Second layer. [width, width].
        b2: Its bias. [width].
        w_means: Head of the displacement. [2, width].
        b_means: Its bias. [2].
        w_colors: Head of the colour change. [3, width].
        b_colors: Its bias. [3].
    """

    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    w_means: Tensor
    b_means: Tensor
    w_colors: Tensor
    b_colors: Tensor
