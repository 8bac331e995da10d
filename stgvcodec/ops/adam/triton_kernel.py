"""Adam as one Triton launch; README.md says why the kernel looks like this."""

from __future__ import annotations

import functools
import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from stgvcodec.ops.adam import MAX_GROUPS, AdamState

_BLOCK = 1024
_NUM_WARPS = 8


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
    starts = (0, *group_ends[:-1])
    n_blocks = sum(triton.cdiv(end - start, _BLOCK) for start, end in zip(starts, group_ends, strict=True))
    mask = sum(1 << g for g, is_active in enumerate(active) if is_active)
    if n_blocks == 0:
        return
    _step_kernel[(n_blocks,)](
        params,
        grads,
        *state,
        _on_device(group_ends, params.device),
        rates,
        mask - (1 << 32) if mask >= 1 << 31 else mask,
        BETA1=betas[0],
        BETA2=betas[1],
        LOG_BETA1=math.log(betas[0]),
        LOG_BETA2=math.log(betas[1]),
        EPS=eps,
        GROUPS=MAX_GROUPS,
        N_GROUPS=len(group_ends),
        BLOCK=_BLOCK,
        num_warps=_NUM_WARPS,
    )


@functools.lru_cache(maxsize=64)
def _on_device(group_ends: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(group_ends, dtype=torch.int32, device=device)


@triton.jit(do_not_specialize=["active"])
def _step_kernel(  # type: ignore[no-untyped-def]
    values,  # [P] float32, in and out; "params" is a name that Triton's launcher uses itself
    grads,  # [P] float32
    exp_avgs,  # [P] float32, in and out
    exp_avg_sqs,  # [P] float32, in and out
    n_steps,  # [G] int32, in and out
    n_nonfinite,  # [1] int32, in and out
    n_arrived,  # [G] int32, zeros, in and out
    group_ends,  # [G] int32
    rates,  # [G] float32
    active,  # bit g: group g makes a step
    BETA1: tl.constexpr,
    BETA2: tl.constexpr,
    LOG_BETA1: tl.constexpr,
    LOG_BETA2: tl.constexpr,
    EPS: tl.constexpr,
    GROUPS: tl.constexpr,
    N_GROUPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    # Every group begins a block of its own, so that a program has one rate and one count.
    program = tl.program_id(0)
    groups = tl.arange(0, GROUPS)
    ends = tl.load(group_ends + groups, mask=groups < N_GROUPS, other=0)
    starts = tl.load(group_ends + groups - 1, mask=(groups > 0) & (groups < N_GROUPS), other=0)
    n_blocks = (ends - starts + BLOCK - 1) // BLOCK
    last_blocks = tl.cumsum(n_blocks, 0)
    group = tl.sum(((last_blocks <= program) & (groups < N_GROUPS)).to(tl.int32), 0)
    if (active >> group) & 1:
        mine = groups == group
        start = tl.sum(tl.where(mine, starts, 0), 0)
        end = tl.sum(tl.where(mine, ends, 0), 0)
        n_group_blocks = tl.sum(tl.where(mine, n_blocks, 0), 0)
        block = program - (tl.sum(tl.where(mine, last_blocks, 0), 0) - n_group_blocks)

        offsets = start + block * BLOCK + tl.arange(0, BLOCK)
        inside = offsets < end
        param = tl.load(values + offsets, mask=inside)
        grad = tl.load(grads + offsets, mask=inside, other=0.0)
        exp_avg = tl.load(exp_avgs + offsets, mask=inside)
        exp_avg_sq = tl.load(exp_avg_sqs + offsets, mask=inside)
        n_done = tl.load(n_steps + group) + 1
        rate = tl.load(rates + group)

        finite = tl.abs(grad) <= 3.4028234663852886e38  # A NaN fails every comparison.
        grad = tl.where(finite, grad, 0.0)
        # This is in float64, since 1 - 0.99^t loses digits in float32, and a program does it only once.
        steps = n_done.to(tl.float64)
        correction1 = (1.0 - tl.exp(steps * LOG_BETA1)).to(tl.float32)
        correction2 = (1.0 - tl.exp(steps * LOG_BETA2)).to(tl.float32)
        step_size = rate / correction1
        root_factor = 1.0 / tl.sqrt_rn(correction2)

        exp_avg += (1 - BETA1) * (grad - exp_avg)
        exp_avg_sq = BETA2 * exp_avg_sq + (1 - BETA2) * (grad * grad)
        param -= step_size * exp_avg / (tl.sqrt_rn(exp_avg_sq) * root_factor + EPS)
        tl.store(values + offsets, param, mask=inside)
        tl.store(exp_avgs + offsets, exp_avg, mask=inside)
        tl.store(exp_avg_sqs + offsets, exp_avg_sq, mask=inside)

        n_bad = tl.sum((inside & (finite == 0)).to(tl.int32), 0)
        if n_bad > 0:
            tl.atomic_add(n_nonfinite, n_bad, sem="relaxed")
        # The last program of a group counts the step when all threads have read the count; hence the barrier.
        tl.debug_barrier()
        if tl.atomic_add(n_arrived + group, 1, sem="acq_rel") == n_group_blocks - 1:
            tl.store(n_arrived + group, 0)
            tl.store(n_steps + group, n_done)
