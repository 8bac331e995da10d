"""The forward kernels of the fused field. README.md says why there are two and what each does."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl

from stgvcodec.ops.deform.triton_device import OUTPUTS, dot, halves, network_inputs, packed_matrix, relu, time_rows
from stgvcodec.ops.hash_encode.triton_device import encode, tile_columns


@triton.jit(
    do_not_specialize=["n_rows", "width", "n_inputs"],
    do_not_specialize_on_alignment=["times", "b1", "w_means", "w_colors", "w_shapes"],
)
def prepare(
    times,
    dynamic_table,
    row_bases,
    row_levels,
    dynamic_levels,
    w1,
    b1,
    w2,
    w_means,
    w_colors,
    w_shapes,
    planes,
    packed,
    n_rows,
    width,
    n_inputs,
    N_SHAPES: tl.constexpr,
    D_FEATURES: tl.constexpr,
    D_FEATURES_PAD: tl.constexpr,
    K_PAD: tl.constexpr,
    W_PAD: tl.constexpr,
    PACKED: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Compute what is the same for all points: packed weights, and the 3D table mixed at each frame's time."""
    program = tl.program_id(0)
    n_chunks: tl.constexpr = (PACKED + CHUNK - 1) // CHUNK
    if program < n_chunks:
        i = program * CHUNK + tl.arange(0, CHUNK)
        # The packed weights are [w1 and b1 | w2 | the heads], row by row. For each element at most one of these loads
        # is not masked out.
        r, column = i // K_PAD, i % K_PAD
        own = (i < W_PAD * K_PAD) & (r < width)
        value = tl.load(w1 + r * n_inputs + column, mask=own & (column < n_inputs), other=0.0)
        value += tl.load(b1 + r, mask=own & (column == n_inputs), other=0.0)
        j = i - W_PAD * K_PAD
        r, column = j // W_PAD, j % W_PAD
        value += tl.load(w2 + r * width + column, mask=(j >= 0) & (r < width) & (column < width), other=0.0)
        j = i - W_PAD * (K_PAD + W_PAD)
        r, column = j // W_PAD, j % W_PAD
        value += tl.load(w_means + r * width + column, mask=(j >= 0) & (r < 2) & (column < width), other=0.0)
        of_colors = (r >= 2) & (r < 5) & (column < width)
        value += tl.load(w_colors + (r - 2) * width + column, mask=of_colors, other=0.0)
        if N_SHAPES:
            of_shapes = (r >= 5) & (r < 5 + N_SHAPES) & (column < width)
            value += tl.load(w_shapes + (r - 5) * width + column, mask=of_shapes, other=0.0)
        if packed.dtype.element_ty == tl.bfloat16:
            high, low = halves(value, "bf16x3")
            tl.store(packed + i, high, mask=i < PACKED)
            tl.store(packed + PACKED + i, low, mask=i < PACKED)
        else:
            tl.store(packed + i, value, mask=i < PACKED)
    else:
        rows: tl.constexpr = CHUNK // D_FEATURES_PAD
        n_blocks = tl.cdiv(n_rows, rows)
        frame = (program - n_chunks) // n_blocks
        row = (program - n_chunks) % n_blocks * rows + tl.arange(0, rows)
        before, after, place = time_rows(times + frame, row, n_rows, row_bases, row_levels, dynamic_levels)
        f = tl.arange(0, D_FEATURES_PAD)[None, :]
        present = (row < n_rows)[:, None] & (f < D_FEATURES)
        lower = tl.load(dynamic_table + before[:, None] * D_FEATURES + f, mask=present, other=0.0)
        upper = tl.load(dynamic_table + after[:, None] * D_FEATURES + f, mask=present, other=0.0)
        plane = planes + frame.to(tl.int64) * n_rows * D_FEATURES_PAD
        mixed = (1.0 - place[:, None]) * lower + place[:, None] * upper
        tl.store(plane + row[:, None] * D_FEATURES_PAD + f, mixed, mask=(row < n_rows)[:, None])


@triton.jit(
    do_not_specialize=["n_points", "n_frames", "n_rows", "n_time", "width", "frames_per_program"],
    do_not_specialize_on_alignment=["gamma", "b2", "b_means", "b_colors", "b_shapes"],
)
def forward(
    means,
    colors,
    gamma,
    static,
    static_levels,
    planes,
    plane_levels,
    packed,
    b2,
    b_means,
    b_colors,
    b_shapes,
    out_means,
    out_colors,
    out_shapes,
    encoded,
    n_points,
    n_frames,
    n_rows,
    n_time,
    width,
    half_width_px,
    half_height_px,
    frames_per_program,
    N_SHAPES: tl.constexpr,
    S_LEVELS: tl.constexpr,
    S_FEATURES: tl.constexpr,
    S_LEVELS_PAD: tl.constexpr,
    S_FEATURES_PAD: tl.constexpr,
    D_LEVELS: tl.constexpr,
    D_FEATURES: tl.constexpr,
    D_LEVELS_PAD: tl.constexpr,
    D_FEATURES_PAD: tl.constexpr,
    K_PAD: tl.constexpr,
    W_PAD: tl.constexpr,
    PACKED: tl.constexpr,
    HAS_STATIC: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Deform a block of points in some frames. `static` is the 2D table, or with HAS_STATIC the features themselves.

    The encodings are written to `encoded` [B, N, Fs + Fd], for the network and for the backward.
    """
    S_COLUMNS: tl.constexpr = S_LEVELS * S_FEATURES
    ENCODED: tl.constexpr = S_COLUMNS + D_LEVELS * D_FEATURES
    point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    first = tl.program_id(1) * frames_per_program
    alive = (point < n_points)[:, None]
    known = tl.minimum(point, n_points - 1)
    x = (tl.load(means + known * 2) + 1.0) * 0.5
    y = (tl.load(means + known * 2 + 1) + 1.0) * 0.5
    s_column, s_present = tile_columns(S_LEVELS, S_FEATURES, S_LEVELS_PAD, S_FEATURES_PAD)
    d_column, d_present = tile_columns(D_LEVELS, D_FEATURES, D_LEVELS_PAD, D_FEATURES_PAD)
    if HAS_STATIC:
        address = static + known[:, None, None] * S_COLUMNS + s_column
        static_tile = tl.load(address, mask=s_present, other=0.0)
    else:
        static_tile = encode(
            x, y, x, static, static_levels, 2, S_LEVELS, S_FEATURES, S_LEVELS_PAD, S_FEATURES_PAD, S_FEATURES
        )
    unit, o = tl.arange(0, W_PAD), tl.arange(0, OUTPUTS)
    bias2 = tl.load(b2 + unit, mask=unit < width, other=0.0)
    head_bias = tl.load(b_means + o, mask=o < 2, other=0.0)
    head_bias += tl.load(b_colors + o - 2, mask=(o >= 2) & (o < 5), other=0.0)
    if N_SHAPES:
        head_bias += tl.load(b_shapes + o - 5, mask=(o >= 5) & (o < 5 + N_SHAPES), other=0.0)
    of_means, of_colors = (o < 2)[None, :], ((o >= 2) & (o < 5))[None, :]
    half_size_px = tl.where(o == 0, half_width_px, half_height_px)[None, :]
    b = first
    while b < tl.minimum(first + frames_per_program, n_frames):
        frame = tl.cast(b, tl.int64)
        dynamic_tile = encode(
            x,
            y,
            x,
            planes + frame * n_rows * D_FEATURES_PAD,
            plane_levels,
            2,
            D_LEVELS,
            D_FEATURES,
            D_LEVELS_PAD,
            D_FEATURES_PAD,
            D_FEATURES_PAD,
        )
        # The features go through memory: to convert them in registers, the compiler would do every lookup once for each
        # layout that it wants.
        of_frame = encoded + frame * n_points * ENCODED
        rows = of_frame + point[:, None, None] * ENCODED
        tl.store(rows + s_column, static_tile, mask=alive[:, :, None] & s_present)
        tl.store(rows + S_COLUMNS + d_column, dynamic_tile, mask=alive[:, :, None] & d_present)
        tl.debug_barrier()
        inputs = network_inputs(of_frame + point[:, None] * ENCODED, gamma + b * n_time, alive, n_time, ENCODED, K_PAD)
        high, low = halves(inputs, PRECISION)
        # The weights are loaded anew for every frame: if kept, they would take the shared memory of a second program.
        w1, w1_low = packed_matrix(packed, W_PAD, K_PAD, PACKED)
        zeros = tl.zeros([BLOCK, W_PAD], tl.float32)
        hidden = relu(dot(high, low, tl.trans(w1), tl.trans(w1_low), zeros, PRECISION))
        high, low = halves(hidden, PRECISION)
        w2, w2_low = packed_matrix(packed + W_PAD * K_PAD, W_PAD, W_PAD, PACKED)
        hidden = relu(dot(high, low, tl.trans(w2), tl.trans(w2_low), zeros, PRECISION) + bias2[None, :])
        high, low = halves(hidden, PRECISION)
        heads, heads_low = packed_matrix(packed + W_PAD * (K_PAD + W_PAD), OUTPUTS, W_PAD, PACKED)
        delta = dot(high, low, tl.trans(heads), tl.trans(heads_low), tl.zeros([BLOCK, OUTPUTS], tl.float32), PRECISION)
        canonical = tl.load(means + known[:, None] * 2 + o[None, :], mask=of_means, other=0.0)
        canonical += tl.load(colors + known[:, None] * 3 + o[None, :] - 2, mask=of_colors, other=0.0)
        moved = canonical + (delta + head_bias[None, :])
        means_row = out_means + frame * n_points * 2 + point[:, None] * 2 + o[None, :]
        tl.store(means_row, (moved + 1.0) * half_size_px, mask=of_means & alive)
        colors_row = out_colors + frame * n_points * 3 + point[:, None] * 3 + o[None, :] - 2
        tl.store(colors_row, moved, mask=of_colors & alive)
        if N_SHAPES:
            # Nothing canonical was added to these columns.
            of_shapes = ((o >= 5) & (o < 5 + N_SHAPES))[None, :]
            shapes_row = out_shapes + frame * n_points * N_SHAPES + point[:, None] * N_SHAPES + o[None, :] - 5
            tl.store(shapes_row, moved, mask=of_shapes & alive)
        b += 1
