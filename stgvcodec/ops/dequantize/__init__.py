"""From a GoP's symbols to its numbers, on the device where the symbols are. README.md has the floor."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from stgvcodec.ops.backends import select
from stgvcodec.ops.dequantize import reference

N_COMPONENTS = 3


class GopCodes(NamedTuple):
    """A GoP's symbols and scales, all on one device.

    Attributes:
        means: [N, 2] float16, finite.
        cholesky: [N, 3] uint8.
        cholesky_scale: [3] float32.
        cholesky_offset: [3] float32.
        color_indices: Codeword of each stage, below K. [N, M] uint8.
        codebooks: [M, K, 3] float16, finite.
        weights: Codes of hash tables and MLP, group after group. [W] int8.
        weight_ends: Where each group ends in `weights`, ascending; the last one at W. [G] int32.
        weight_scales: Step of each group. [G] float32.
    """

    means: Tensor
    cholesky: Tensor
    cholesky_scale: Tensor
    cholesky_offset: Tensor
    color_indices: Tensor
    codebooks: Tensor
    weights: Tensor
    weight_ends: Tensor
    weight_scales: Tensor


class GopNumbers(NamedTuple):
    """means [N, 2], cholesky [N, 3], colors [N, 3], weights [W]; float32."""

    means: Tensor
    cholesky: Tensor
    colors: Tensor
    weights: Tensor


def dequantize(codes: GopCodes, *, backend: str = "auto") -> GopNumbers:
    """Values of a GoP's symbols, bit for bit those of bitstream_spec.md section 9, as the quantisers compute them.

    means: the halves. cholesky: float32(q) * scale + offset, two roundings. colors: 0 + codeword + codeword + ...,
    one rounding a stage. weights: float32(q) * scale of the group, one rounding.

    Args:
        codes: What was transmitted.
        backend: "auto", "reference" or "triton" (one launch).

    Returns:
        The numbers, on the codes' device.

    Raises:
        ValueError: a shape or dtype differs from `GopCodes`.
        BackendUnavailableError: an explicit back end that this machine or release cannot run.
    Gradients: none. Deterministic: yes. Never waits for the device; indices are trusted to be below K.
    """
    _check(codes)
    return select(_IMPLEMENTATIONS, backend, codes.means.device)(codes)


def _triton(codes: GopCodes) -> GopNumbers:
    from stgvcodec.ops.dequantize import triton_kernel

    return triton_kernel.dequantize(codes)


_IMPLEMENTATIONS: dict[str, Callable[[GopCodes], GopNumbers]] = {
    "reference": reference.dequantize,
    "triton": _triton,
}


def _check(codes: GopCodes) -> None:
    n = codes.means.shape[0]
    n_stages, n_codewords = codes.codebooks.shape[:2] if codes.codebooks.ndim == 3 else (0, 0)
    n_groups = codes.weight_scales.shape[0] if codes.weight_scales.ndim == 1 else 0
    n_weights = codes.weights.numel()
    for name, dtype, shape in (
        ("means", torch.float16, (n, 2)),
        ("cholesky", torch.uint8, (n, N_COMPONENTS)),
        ("cholesky_scale", torch.float32, (N_COMPONENTS,)),
        ("cholesky_offset", torch.float32, (N_COMPONENTS,)),
        ("color_indices", torch.uint8, (n, n_stages)),
        ("codebooks", torch.float16, (n_stages, n_codewords, N_COMPONENTS)),
        ("weights", torch.int8, (n_weights,)),
        ("weight_ends", torch.int32, (n_groups,)),
        ("weight_scales", torch.float32, (n_groups,)),
    ):
        tensor: Tensor = getattr(codes, name)
        if tensor.dtype != dtype or tensor.shape != shape or tensor.device != codes.means.device:
            raise ValueError(
                f"{name} is {tensor.dtype} {list(tensor.shape)} on {tensor.device}, expected {dtype} {list(shape)} on "
                f"{codes.means.device}"
            )
        if not tensor.is_contiguous():
            raise ValueError(f"{name} is not contiguous, expected a contiguous tensor; call .contiguous()")
    if n_weights and not n_groups:
        raise ValueError(f"{n_weights} weights have no group, expected one scale at least")
