"""The whole deformation field, Eqs. (6)-(9) of Lin et al. 2026 (arXiv 2604.10910). The maths is in README.md."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from stgvcodec.ops.backends import select
from stgvcodec.ops.deform import composition
from stgvcodec.ops.deform.composition import to_pixels
from stgvcodec.ops.field_mlp import N_SHAPES, FieldWeights
from stgvcodec.ops.hash_encode import HashGridSpec

__all__ = ["deform", "to_pixels"]

_Implementation = Callable[..., tuple[Tensor, Tensor, Tensor]]


def deform(
    means: Tensor,
    colors: Tensor,
    static_table: Tensor,
    dynamic_table: Tensor,
    weights: FieldWeights,
    times: Tensor,
    gamma: Tensor,
    *,
    static_grid: HashGridSpec,
    dynamic_grid: HashGridSpec,
    size_px: tuple[float, float],
    static_features: Tensor | None = None,
    backend: str = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute where every Gaussian lies in every frame, its colour there, and how its shape changes.

    Args:
        means: Canonical centres in [-1, 1]^2 over the picture; may lie outside. [N, 2] float32 or float64.
        colors: Canonical weighted RGB. [N, 3].
        static_table: Entries of the 2D encoding. [n_entries, F].
        dynamic_table: Entries of the 3D encoding. [n_entries, F].
        weights: Weights of the network.
        times: Times of the frames in [0, 1]. [B].
        gamma: Frequency encoding of each time. [B, n_time].
        static_grid: Grid of the 2D encoding, over (x, y).
        dynamic_grid: Grid of the 3D encoding, over (x, y, t).
        size_px: Width and height of the output, pixels; may be fractional.
        static_features: Encoding of the means by the static grid, if the caller keeps it (it is the same in every
            frame); `static_table` is not read then. [N, Fs].
        backend: One of `stgvcodec.ops.backends.BACKENDS`; `auto` takes the reference for float64.

    Returns:
        means_px: Centres in pixels, ((means + delta) + 1) * size_px / 2. [B, N, 2].
        colors: Weighted RGB, colors + delta. [B, N, 3].
        delta_shapes: Changes of shape, as `stgvcodec.ops.deform_shapes` takes them. [B, N, S], S being 0 if the weights
            have no head for them.

    Raises:
        ValueError: a shape, dtype or device differs from the above, or the dtype is float64 with `numba` or `triton`.
        BackendUnavailableError: `backend` cannot run here.

    Gradients: to means (through the sum and through both encodings), colors, tables, weights and static_features; times
    and gamma are constants. Deterministic: forward yes, and a frame's result has the same bits alone and in a batch;
    backward on `numba` for any number of threads, and on `triton` all but the tables' gradients (atomic adds). A NaN
    mean stays NaN; as an input of the encodings it counts as 0, so that no other Gaussian becomes NaN.
    """
    _check(
        means, colors, static_table, dynamic_table, weights, times, gamma, static_grid, dynamic_grid, static_features
    )
    if backend == "auto" and means.dtype == torch.float64:
        backend = "reference"
    implementations: dict[str, Callable[[], _Implementation]] = {
        "reference": lambda: composition.reference,
        "numba": _numba,
        "triton": lambda: _triton(weights, static_grid, dynamic_grid, gamma.shape[1]),
    }
    run = select(implementations, backend, means.device)()
    return run(
        means,
        colors,
        static_table,
        dynamic_table,
        weights,
        times,
        gamma,
        static_grid=static_grid,
        dynamic_grid=dynamic_grid,
        size_px=size_px,
        static_features=static_features,
    )


def _numba() -> _Implementation:
    # The import is here because numba takes half a second, which users of other back ends need not spend.
    from stgvcodec.ops.deform import numba_kernel

    return numba_kernel.deform


def _triton(
    weights: FieldWeights, static_grid: HashGridSpec, dynamic_grid: HashGridSpec, n_time: int
) -> _Implementation:
    # The import is here because triton exists only beside CUDA builds of torch, and defines its kernels on import.
    from stgvcodec.ops.deform import triton_field, triton_kernel

    fits = triton_field.fits(weights, static_grid, dynamic_grid, n_time)
    return triton_kernel.deform if fits else composition.triton


def _check(
    means: Tensor,
    colors: Tensor,
    static_table: Tensor,
    dynamic_table: Tensor,
    weights: FieldWeights,
    times: Tensor,
    gamma: Tensor,
    static_grid: HashGridSpec,
    dynamic_grid: HashGridSpec,
    static_features: Tensor | None,
) -> None:
    if (static_grid.n_dims, dynamic_grid.n_dims) != (2, 3):
        raise ValueError(
            f"static_grid has {static_grid.n_dims} axes and dynamic_grid {dynamic_grid.n_dims}, expected 2 and 3"
        )
    if times.ndim != 1 or len(times) < 1:
        raise ValueError(f"times has shape {tuple(times.shape)}, expected [B] with B >= 1")
    if gamma.ndim != 2:
        raise ValueError(f"gamma has shape {tuple(gamma.shape)}, expected [B, n_time]")
    if weights.w1.ndim != 2 or weights.w1.shape[0] < 1:
        raise ValueError(
            f"weights.w1 has shape {tuple(weights.w1.shape)}, expected [width, Fs + Fd + n_time], width >= 1"
        )
    n, n_time, width = len(means), gamma.shape[1], weights.w1.shape[0]
    n_inputs = static_grid.n_features + dynamic_grid.n_features + n_time
    n_shapes = weights.n_shapes if weights.n_shapes in N_SHAPES else N_SHAPES[-1]
    expected = {
        "means": (means, (n, 2)),
        "colors": (colors, (n, 3)),
        "static_table": (static_table, (static_grid.n_entries, static_grid.n_features_per_level)),
        "dynamic_table": (dynamic_table, (dynamic_grid.n_entries, dynamic_grid.n_features_per_level)),
        "gamma": (gamma, (len(times), n_time)),
        "weights.w1": (weights.w1, (width, n_inputs)),
        "weights.b1": (weights.b1, (width,)),
        "weights.w2": (weights.w2, (width, width)),
        "weights.b2": (weights.b2, (width,)),
        "weights.w_means": (weights.w_means, (2, width)),
        "weights.b_means": (weights.b_means, (2,)),
        "weights.w_colors": (weights.w_colors, (3, width)),
        "weights.b_colors": (weights.b_colors, (3,)),
        "weights.w_shapes": (weights.w_shapes, (n_shapes, width)),
        "weights.b_shapes": (weights.b_shapes, (n_shapes,)),
        "times": (times, (len(times),)),
    }
    if static_features is not None:
        expected["static_features"] = (static_features, (n, static_grid.n_features))
    kind = (means.dtype, means.device)
    if means.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"means are {means.dtype}, expected float32 or float64; convert them first")
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, expected {shape} for {n} Gaussians and these grids"
            )
        if (tensor.dtype, tensor.device) != kind:
            raise ValueError(
                f"{name} is {tensor.dtype} on {tensor.device}, expected {kind[0]} on {kind[1]}, as the means are"
            )
