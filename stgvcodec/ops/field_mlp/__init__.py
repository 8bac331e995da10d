"""The deformation field's network, Eqs. (7)-(9) of Lin et al. 2026 (arXiv 2604.10910). The maths is in README.md."""

from __future__ import annotations

import torch
from torch import Tensor

from stgvcodec.ops.backends import select
from stgvcodec.ops.field_mlp import reference
from stgvcodec.ops.field_mlp.weights import N_SHAPES, FieldWeights

__all__ = ["N_SHAPES", "FieldWeights", "field_mlp"]


def field_mlp(
    static_features: Tensor,
    dynamic_features: Tensor,
    time_encoding: Tensor,
    weights: FieldWeights,
    *,
    backend: str = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the change of position, colour and shape of every Gaussian in every frame.

    Args:
        static_features: Encoding of (x, y), which the frames share. [N, Fs] float32 or float64.
        dynamic_features: Encoding of (x, y, t). [B, N, Fd].
        time_encoding: Encoding gamma(t) of each frame's time. [B, n_time].
        weights: Weights of the network. All tensors have one dtype and device.
        backend: One of `stgvcodec.ops.backends.BACKENDS`; `auto` takes the reference for float64.

    Returns:
        delta_means: Displacements, in the units of the means. [B, N, 2].
        delta_colors: Changes of weighted colour. [B, N, 3].
        delta_shapes: Changes of shape, as `stgvcodec.ops.deform_shapes` takes them. [B, N, S], S being 0 if the weights
            have no head for them.

    Raises:
        ValueError: a shape, dtype or device differs from the above, or the dtype is float64 with `numba`.
        BackendUnavailableError: `backend` cannot run here.

    Gradients: to features, time encoding and weights. Deterministic: `numba` in both passes, for any number of threads.
    A frame's result has the same bits whether the frame comes alone or in a batch, in any order.
    """
    _check(static_features, dynamic_features, time_encoding, weights)
    if backend == "auto" and static_features.dtype == torch.float64:
        backend = "reference"
    implementations = {"reference": reference.field_mlp, "numba": _numba_field_mlp}
    run = select(implementations, backend, static_features.device)
    return run(static_features, dynamic_features, time_encoding, weights)


def _numba_field_mlp(
    static_features: Tensor, dynamic_features: Tensor, time_encoding: Tensor, weights: FieldWeights
) -> tuple[Tensor, Tensor, Tensor]:
    # The import is here because numba takes half a second, which users of other back ends need not spend.
    from stgvcodec.ops.field_mlp import numba_kernel

    return numba_kernel.field_mlp(static_features, dynamic_features, time_encoding, weights)


def _check(static_features: Tensor, dynamic_features: Tensor, time_encoding: Tensor, weights: FieldWeights) -> None:
    for name, tensor, axes in (
        ("static_features", static_features, "[N, Fs]"),
        ("dynamic_features", dynamic_features, "[B, N, Fd]"),
        ("time_encoding", time_encoding, "[B, n_time]"),
        ("weights.w1", weights.w1, "[width, Fs + Fd + n_time]"),
    ):
        if tensor.ndim != axes.count(",") + 1:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {axes}")
    (n_points, n_static), (n_frames, _, n_dynamic) = static_features.shape, dynamic_features.shape
    n_time, width = time_encoding.shape[1], weights.w1.shape[0]
    n_shapes = weights.n_shapes if weights.n_shapes in N_SHAPES else N_SHAPES[-1]
    if n_frames < 1 or width < 1:
        raise ValueError(f"got {n_frames} frames and width {width}, expected at least one of each")
    for name, tensor, shape in (
        ("dynamic_features", dynamic_features, (n_frames, n_points, n_dynamic)),
        ("time_encoding", time_encoding, (n_frames, n_time)),
        ("weights.w1", weights.w1, (width, n_static + n_dynamic + n_time)),
        ("weights.b1", weights.b1, (width,)),
        ("weights.w2", weights.w2, (width, width)),
        ("weights.b2", weights.b2, (width,)),
        ("weights.w_means", weights.w_means, (2, width)),
        ("weights.b_means", weights.b_means, (2,)),
        ("weights.w_colors", weights.w_colors, (3, width)),
        ("weights.b_colors", weights.b_colors, (3,)),
        ("weights.w_shapes", weights.w_shapes, (n_shapes, width)),
        ("weights.b_shapes", weights.b_shapes, (n_shapes,)),
    ):
        if tuple(tensor.shape) != shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, expected {shape} for {n_frames} frames of {n_points} points, "
                f"Fs = {n_static}, Fd = {n_dynamic}, n_time = {n_time}, width = {width}"
            )
    kind = (static_features.dtype, static_features.device)
    if kind[0] not in (torch.float32, torch.float64):
        raise ValueError(f"static_features are {kind[0]}, expected float32 or float64; convert them first")
    for tensor in (dynamic_features, time_encoding, *weights):
        if (tensor.dtype, tensor.device) != kind:
            raise ValueError(
                f"static_features are {kind[0]} on {kind[1]}, another argument {tensor.dtype} on {tensor.device}; "
                "expected the same of all features and weights"
            )
