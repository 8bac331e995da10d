"""Adam on CPU threads: one pass over the vector, the same bits for any number of threads."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from stgvcodec.ops.adam import AdamState
from stgvcodec.ops.compiled import njit
from stgvcodec.ops.threads import run_chunks

# Parameters in a chunk, which take about 50 us; handing less to a thread would not pay.
_CHUNK = 1 << 16

_LARGEST = np.finfo(np.float32).max
_ZERO = np.float32(0.0)

_kernel = njit(nogil=True, cache=True, error_model="numpy")


@torch.no_grad()
def adam_step(
    params: Tensor,
    grads: Tensor,
    state: AdamState,
    group_ends: tuple[int, ...],
    active: tuple[bool, ...],
    rates: Tensor,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """Make one step, as the twin of `reference.adam_step`."""
    beta1, beta2 = betas
    # Each row is the range of an active group, and its factors of the moments: step size and root.
    ranges, factors = [], []
    n_steps = state.n_steps.numpy()
    starts = (0, *group_ends[:-1])
    for g, (start, end, rate) in enumerate(zip(starts, group_ends, rates.tolist(), strict=True)):
        if active[g] and start < end:
            n_steps[g] += 1
            t = int(n_steps[g])
            ranges.append((start, end))
            factors.append((rate / (1 - beta1**t), (1 - beta2**t) ** -0.5))
    if not ranges:
        return
    n_chunks = -(-group_ends[-1] // _CHUNK)
    n_bad = np.zeros(n_chunks, np.int64)
    tensors = (params, grads, state.exp_avg, state.exp_avg_sq)
    arrays = (np.array(ranges), np.array(factors, np.float32), *(tensor.detach().numpy() for tensor in tensors))
    constants = (np.float32(1 - beta1), np.float32(beta2), np.float32(1 - beta2), np.float32(eps))

    def step(i: int) -> None:
        n_bad[i] = _step(*(*arrays, *constants, i * _CHUNK, (i + 1) * _CHUNK))

    run_chunks(step, n_chunks)
    if n_bad.any():
        state.n_nonfinite.add_(int(n_bad.sum()))


@_kernel
def _step(  # type: ignore[no-untyped-def]
    ranges, factors, params, grads, exp_avgs, exp_avg_sqs, weight1, beta2, weight2, eps, first, last
):
    """Step the parameters in [first, last) that lie in a range; return how many of their gradients are not finite."""
    n_bad = 0
    for group in range(ranges.shape[0]):
        step_size, root_factor = factors[group, 0], factors[group, 1]
        # Indices are unsigned: for signed ones numba would check whether they are negative.
        for at in range(max(ranges[group, 0], first), min(ranges[group, 1], last)):
            i = np.uint64(at)
            grad = grads[i]
            finite = abs(grad) <= _LARGEST  # A NaN fails every comparison.
            n_bad += 0 if finite else 1
            grad = grad if finite else _ZERO
            exp_avg = exp_avgs[i] + weight1 * (grad - exp_avgs[i])
            exp_avg_sq = beta2 * exp_avg_sqs[i] + weight2 * (grad * grad)
            exp_avgs[i] = exp_avg
            exp_avg_sqs[i] = exp_avg_sq
            params[i] -= step_size * exp_avg / (np.sqrt(exp_avg_sq) * root_factor + eps)
    return n_bad
