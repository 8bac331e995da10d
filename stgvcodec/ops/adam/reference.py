"""Adam in plain torch, on any device and without waiting for it: the reference that the kernel is held against."""

from __future__ import annotations

import torch
from torch import Tensor

from stgvcodec.ops.adam import AdamState


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
    """Make one step as `stgvcodec.ops.adam.adam_step` does; the inputs have been checked."""
    beta1, beta2 = betas
    for g, (start, end) in enumerate(zip((0, *group_ends), group_ends, strict=False)):
        if not active[g] or start == end:
            continue
        grad = grads[start:end]
        finite = torch.isfinite(grad)
        state.n_nonfinite.add_((~finite).sum())
        grad = torch.where(finite, grad, 0.0)

        state.n_steps[g].add_(1)
        n_steps = state.n_steps[g].double()
        correction1 = (1 - beta1**n_steps).float()
        correction2 = (1 - beta2**n_steps).float()
        exp_avg = state.exp_avg[start:end].lerp_(grad, 1 - beta1)
        exp_avg_sq = state.exp_avg_sq[start:end].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        params[start:end] -= rates[g] / correction1 * exp_avg / (exp_avg_sq.sqrt() / correction2.sqrt() + eps)
