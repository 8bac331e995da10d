"""What encoding by residual vector quantisation gives."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

N_CHANNELS = 3
MAX_STAGES = 8
MAX_CODEWORDS = 256


class Encoding(NamedTuple):
    """Colours coded stage by stage.

    Attributes:
        indices: Codeword of each stage. [N, M] uint8.
        decoded: Sum of the codewords, as the decoder adds them. [N, 3] float32.
    """

    indices: Tensor
    decoded: Tensor
