"""Colours to codewords stage by stage, and codewords back to colours as every decoder adds them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from stgvcodec.ops.half_round import HALF_MAX, round_to_half
from stgvcodec.ops.residual_vq.clusters import nearest

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


class Trace(NamedTuple):
    """An encoding with the targets and the errors of its stages.

    Attributes:
        indices: Codeword of each stage. [N, M] int64.
        decoded: Sum of the codewords, as the decoder adds them. [N, 3].
        targets: Target of each stage, which is x less the sum of the earlier stages. M times [N, 3].
        errors: Squared error that each stage leaves. [M, N].
    """

    indices: Tensor
    decoded: Tensor
    targets: list[Tensor]
    errors: Tensor


def bounded(x: Tensor) -> Tensor:
    """Clamp colours to the range of codewords, so that no distance overflows; NaN counts as zero."""
    return torch.nan_to_num(x, nan=0.0).clamp(-HALF_MAX, HALF_MAX)


def trace(x: Tensor, codebooks: Tensor) -> Trace:
    """Code colours [N, 3] by codebooks [M, K, 3], which are rounded to half."""
    colors = bounded(x)
    decoded = torch.zeros_like(colors)
    indices, targets, errors = [], [], []
    for codebook in round_to_half(codebooks).float():
        target = colors - decoded
        stage_indices, stage_errors = nearest(target, codebook)
        decoded = decoded + codebook.index_select(0, stage_indices)
        indices.append(stage_indices)
        targets.append(target)
        errors.append(stage_errors)
    return Trace(torch.stack(indices, dim=1), decoded, targets, torch.stack(errors))
