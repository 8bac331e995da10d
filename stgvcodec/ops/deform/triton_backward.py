"""The backward kernels of the fused field. README.md says why there are three and what each does."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl

from stgvcodec.ops.deform.triton_device import (
    N_OUTPUTS,
    OUTPUTS,
    dot,
    halves,
    network_inputs,
    packed_matrix,
    relu,
    time_rows,
)
from stgvcodec.ops.hash_encode.triton_device import encode_backward, passes_gradient, tile_columns


@triton.jit(
    do_not_specialize=["n_points", "n_frames", "n_time", "width"], do_not_specialize_on_alignment=["gamma", "b2"]
)
def backward_network(
    encoded,
    gamma,
    packed,
    b2,
    grad_means,
    grad_colors,
    grad_shapes,
    grad_encoded,
    partials,
    n_points,
    n_frames,
    n_time,
    width,
    half_width_px,
    half_height_px,
    N_SHAPES: tl.constexpr,
    ENCODED: tl.constexpr,
    K_PAD: tl.constexpr,
    W_PAD: tl.constexpr,
    PACKED: tl.constexpr,
    PARTIAL: tl.constexpr,
    FORWARD_PRECISION: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute gradients of the encodings of blocks of points, and this program's share of the weights' gradients.

    Hidden layers have units in rows and points in columns. So every left factor is a matrix of weights or a layer just
    computed, which is where the matrix units want it, and nothing is transposed in registers. The layers are computed
    again as precisely as in the forward: otherwise a ReLU near its kink would pass a gradient where the forward did not
    pass its input.
    """
    w1, w1_low = packed_matrix(packed, W_PAD, K_PAD, PACKED)
    w2, w2_low = packed_matrix(packed + W_PAD * K_PAD, W_PAD, W_PAD, PACKED)
    heads, heads_low = packed_matrix(packed + W_PAD * (K_PAD + W_PAD), OUTPUTS, W_PAD, PACKED)
    unit, o, column = tl.arange(0, W_PAD), tl.arange(0, OUTPUTS), tl.arange(0, K_PAD)
    bias2 = tl.load(b2 + unit, mask=unit < width, other=0.0)
    half_size_px = tl.where(o == 0, half_width_px, half_height_px)[None, :]
    sum_w1 = tl.zeros([W_PAD, K_PAD], tl.float32)
    sum_w2 = tl.zeros([W_PAD, W_PAD], tl.float32)
    sum_b2 = tl.zeros([W_PAD, OUTPUTS], tl.float32)
    sum_heads = tl.zeros([W_PAD, OUTPUTS], tl.float32)
    sum_outputs = tl.zeros([BLOCK, OUTPUTS], tl.float32)
    n_blocks = tl.cdiv(n_points, BLOCK)
    i = tl.program_id(0)
    while i < n_blocks * n_frames:
        b = i // n_blocks
        frame = tl.cast(b, tl.int64)
        point = (i - b * n_blocks) * BLOCK + tl.arange(0, BLOCK)
        alive = (point < n_points)[:, None]
        of_frame = encoded + frame * n_points * ENCODED
        inputs = network_inputs(of_frame + point[:, None] * ENCODED, gamma + b * n_time, alive, n_time, ENCODED, K_PAD)
        f, f_low = halves(inputs, FORWARD_PRECISION)
        of_means, of_colors = alive & (o < 2)[None, :], alive & ((o >= 2) & (o < 5))[None, :]
        of_frame = grad_means + frame * n_points * 2
        upstream = tl.load(of_frame + point[:, None] * 2 + o[None, :], mask=of_means, other=0.0) * half_size_px
        of_frame = grad_colors + frame * n_points * 3
        upstream += tl.load(of_frame + point[:, None] * 3 + o[None, :] - 2, mask=of_colors, other=0.0)
        if N_SHAPES:
            of_shapes = alive & ((o >= 5) & (o < 5 + N_SHAPES))[None, :]
            of_frame = grad_shapes + frame * n_points * N_SHAPES
            upstream += tl.load(of_frame + point[:, None] * N_SHAPES + o[None, :] - 5, mask=of_shapes, other=0.0)
        sum_outputs += upstream
        # The column that counts points meets a row of zeros in the heads. In the sums it gives the bias's gradient.
        e, e_low = halves(tl.where(alive & (o == N_OUTPUTS)[None, :], 1.0, upstream), PRECISION)

        zeros = tl.zeros([W_PAD, BLOCK], tl.float32)
        hidden = relu(dot(w1, w1_low, tl.trans(f), tl.trans(f_low), zeros, FORWARD_PRECISION))
        h1, h1_low = halves(hidden, FORWARD_PRECISION)
        hidden = relu(dot(w2, w2_low, h1, h1_low, zeros, FORWARD_PRECISION) + bias2[:, None])
        h2, h2_low = halves(hidden, PRECISION)
        sum_heads = dot(h2, h2_low, e, e_low, sum_heads, PRECISION)
        grad = dot(tl.trans(heads), tl.trans(heads_low), tl.trans(e), tl.trans(e_low), zeros, PRECISION)
        g2, g2_low = halves(tl.where(h2 > 0.0, grad, 0.0), PRECISION)
        sum_b2 = dot(g2, g2_low, e, e_low, sum_b2, PRECISION)
        sum_w2 = dot(g2, g2_low, tl.trans(h1), tl.trans(h1_low), sum_w2, PRECISION)
        grad = dot(tl.trans(w2), tl.trans(w2_low), g2, g2_low, zeros, PRECISION)
        g1, g1_low = halves(tl.where(h1 > 0.0, grad, 0.0), PRECISION)
        sum_w1 = dot(g1, g1_low, f, f_low, sum_w1, PRECISION)
        out = dot(tl.trans(w1), tl.trans(w1_low), g1, g1_low, tl.zeros([K_PAD, BLOCK], tl.float32), PRECISION)
        of_frame = grad_encoded + frame * n_points * ENCODED
        present = (column < ENCODED)[:, None] & (point < n_points)[None, :]
        tl.store(of_frame + point[None, :] * ENCODED + column[:, None], out, mask=present)
        i += tl.num_programs(0)

    share = partials + tl.program_id(0) * PARTIAL
    tl.store(share + unit[:, None] * K_PAD + column[None, :], sum_w1)
    share += W_PAD * K_PAD
    tl.store(share + unit[:, None] * W_PAD + unit[None, :], sum_w2)
    share += W_PAD * W_PAD
    tl.store(share + unit[:, None] * OUTPUTS + o[None, :], sum_b2)
    share += W_PAD * OUTPUTS
    tl.store(share + unit[:, None] * OUTPUTS + o[None, :], sum_heads)
    share += W_PAD * OUTPUTS
    tl.store(share + o, tl.sum(sum_outputs, axis=0))


@triton.jit(do_not_specialize=["n_points", "n_frames", "n_rows"])
def backward_encodings(
    means,
    static_table,
    static_levels,
    planes,
    plane_levels,
    grad_means_px,
    grad_colors_out,
    grad_encoded,
    grad_means,
    grad_colors,
    grad_static,
    grad_planes,
    n_points,
    n_frames,
    n_rows,
    half_width_px,
    half_height_px,
    S_LEVELS: tl.constexpr,
    S_FEATURES: tl.constexpr,
    S_LEVELS_PAD: tl.constexpr,
    S_FEATURES_PAD: tl.constexpr,
    D_LEVELS: tl.constexpr,
    D_FEATURES: tl.constexpr,
    D_LEVELS_PAD: tl.constexpr,
    D_FEATURES_PAD: tl.constexpr,
    HAS_STATIC: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Scatter a block's encoding gradients into table and planes; compute the gradients of its means and colours.

    `grad_static` is the gradient of the 2D table, or with HAS_STATIC the gradient of the features that were given.
    """
    S_COLUMNS: tl.constexpr = S_LEVELS * S_FEATURES
    ENCODED: tl.constexpr = S_COLUMNS + D_LEVELS * D_FEATURES
    point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    alive = point < n_points
    known = tl.minimum(point, n_points - 1)
    x = (tl.load(means + known * 2) + 1.0) * 0.5
    y = (tl.load(means + known * 2 + 1) + 1.0) * 0.5
    s_column, s_present = tile_columns(S_LEVELS, S_FEATURES, S_LEVELS_PAD, S_FEATURES_PAD)
    d_column, d_present = tile_columns(D_LEVELS, D_FEATURES, D_LEVELS_PAD, D_FEATURES_PAD)
    s_present &= alive[:, None, None]
    d_present &= alive[:, None, None]
    channel = tl.arange(0, 4)[None, :]
    of_colors = alive[:, None] & (channel < 3)
    sum_static = tl.zeros([BLOCK, S_LEVELS_PAD, S_FEATURES_PAD], tl.float32)
    sum_colors = tl.zeros([BLOCK, 4], tl.float32)
    sum_x = tl.zeros([BLOCK], tl.float32)
    sum_y = tl.zeros([BLOCK], tl.float32)
    sum_x_px = tl.zeros([BLOCK], tl.float32)
    sum_y_px = tl.zeros([BLOCK], tl.float32)
    b = n_frames * 0
    while b < n_frames:
        frame = tl.cast(b, tl.int64)
        before = frame * n_points
        sum_x_px += tl.load(grad_means_px + before * 2 + point * 2, mask=alive, other=0.0)
        sum_y_px += tl.load(grad_means_px + before * 2 + point * 2 + 1, mask=alive, other=0.0)
        sum_colors += tl.load(grad_colors_out + before * 3 + point[:, None] * 3 + channel, mask=of_colors, other=0.0)
        rows = grad_encoded + before * ENCODED + point[:, None, None] * ENCODED
        sum_static += tl.load(rows + s_column, mask=s_present, other=0.0)
        slope_x, slope_y, _ = encode_backward(
            tl.load(rows + S_COLUMNS + d_column, mask=d_present, other=0.0),
            x,
            y,
            x,
            alive,
            planes + frame * n_rows * D_FEATURES_PAD,
            grad_planes + frame * n_rows * D_FEATURES_PAD,
            plane_levels,
            2,
            D_LEVELS,
            D_FEATURES,
            D_LEVELS_PAD,
            D_FEATURES_PAD,
            D_FEATURES_PAD,
        )
        sum_x += slope_x
        sum_y += slope_y
        b += 1
    if HAS_STATIC:
        tl.store(grad_static + point[:, None, None] * S_COLUMNS + s_column, sum_static, mask=s_present)
    else:
        of_table_x, of_table_y, _ = encode_backward(
            sum_static,
            x,
            y,
            x,
            alive,
            static_table,
            grad_static,
            static_levels,
            2,
            S_LEVELS,
            S_FEATURES,
            S_LEVELS_PAD,
            S_FEATURES_PAD,
            S_FEATURES,
        )
        sum_x += of_table_x
        sum_y += of_table_y
    grad_x = sum_x_px * half_width_px + 0.5 * tl.where(passes_gradient(x), sum_x, 0.0)
    grad_y = sum_y_px * half_height_px + 0.5 * tl.where(passes_gradient(y), sum_y, 0.0)
    tl.store(grad_means + point * 2, grad_x, mask=alive)
    tl.store(grad_means + point * 2 + 1, grad_y, mask=alive)
    tl.store(grad_colors + point[:, None] * 3 + channel, sum_colors, mask=of_colors)


@triton.jit(do_not_specialize=["n_partials", "n_weights", "n_rows"], do_not_specialize_on_alignment=["times"])
def finish_backward(
    partials,
    partial_places,
    grad_weights,
    times,
    row_bases,
    row_levels,
    dynamic_levels,
    grad_planes,
    grad_table,
    n_partials,
    n_weights,
    n_rows,
    D_FEATURES: tl.constexpr,
    D_FEATURES_PAD: tl.constexpr,
    PARTIAL: tl.constexpr,
    WEIGHTS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Add the programs' weight gradients in order, and hand the planes' gradients on to the rows of the 3D table."""
    n_sums = tl.cdiv(n_weights, WEIGHTS)
    program = tl.program_id(0)
    if program < n_sums:
        i = program * WEIGHTS + tl.arange(0, WEIGHTS)
        source = tl.load(partial_places + i, mask=i < n_weights, other=0)
        total = tl.zeros([16, WEIGHTS], tl.float32)
        first = n_partials * 0
        while first < n_partials:
            p = first + tl.arange(0, 16)[:, None]
            total += tl.load(partials + p * PARTIAL + source[None, :], mask=p < n_partials, other=0.0)
            first += 16
        tl.store(grad_weights + i, tl.sum(total, axis=0), mask=i < n_weights)
    else:
        n_blocks = tl.cdiv(n_rows, ROWS)
        b = (program - n_sums) // n_blocks
        row = (program - n_sums) % n_blocks * ROWS + tl.arange(0, ROWS)
        before, after, place = time_rows(times + b, row, n_rows, row_bases, row_levels, dynamic_levels)
        f = tl.arange(0, D_FEATURES_PAD)[None, :]
        own = (row < n_rows)[:, None] & (f < D_FEATURES)
        plane = grad_planes + b.to(tl.int64) * n_rows * D_FEATURES_PAD
        gradient = tl.load(plane + row[:, None] * D_FEATURES_PAD + f, mask=own, other=0.0)
        lower, upper = (1.0 - place[:, None]) * gradient, place[:, None] * gradient
        tl.atomic_add(grad_table + before[:, None] * D_FEATURES + f, lower, mask=own, sem="relaxed")
        tl.atomic_add(grad_table + after[:, None] * D_FEATURES + f, upper, mask=own, sem="relaxed")
