"""Adam over one flat vector of parameters, with a learning rate and a count of steps for each group (see README.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from stgvcodec.ops.backends import select

MAX_GROUPS = 32


class AdamState(NamedTuple):
    """The state that Adam keeps between steps, on the device of the parameters.

    Attributes:
        exp_avg: Moving average of the gradients. [P] float32.
        exp_avg_sq: Moving average of the squared gradients. [P] float32.
        n_steps: Number of steps that each group has made. [G] int32.
        n_nonfinite: Number of gradient elements since the beginning that were NaN or Inf and counted as 0. [1] int32.
        n_arrived: Number of the kernel's programs that are done with a group in this step, for the kernel's own use; 0
            between steps. [G] int32.
    """

    exp_avg: Tensor
    exp_avg_sq: Tensor
    n_steps: Tensor
    n_nonfinite: Tensor
    n_arrived: Tensor

    @staticmethod
    def zeros(n_parameters: int, n_groups: int, device: torch.device) -> AdamState:
        """Make the state before the first step."""
        exp_avg, exp_avg_sq = (torch.zeros(n_parameters, device=device) for _ in range(2))
        n_steps, n_nonfinite, n_arrived = (
            torch.zeros(n, dtype=torch.int32, device=device) for n in (n_groups, 1, n_groups)
        )
        return AdamState(exp_avg, exp_avg_sq, n_steps, n_nonfinite, n_arrived)


def adam_step(
    params: Tensor,
    grads: Tensor,
    state: AdamState,
    *,
    group_ends: tuple[int, ...],
    active: tuple[bool, ...],
    rates: Tensor,
    betas: tuple[float, float] = (0.9, 0.99),
    eps: float = 1e-15,
    backend: str = "auto",
) -> None:
    """Make one step of Adam (Kingma and Ba 2015), in place, for the active groups alone.

    Rates and counts of steps are read on the device, so that a call captured in a CUDA graph follows them. A gradient
    element that is NaN or Inf is taken as 0 and counted in `state.n_nonfinite`. The first call for a layout of groups
    must not lie in a capture: it compiles the kernel and puts `group_ends` on the device.

    Args:
        params: Parameters, group after group, changed in place. [P] float32, contiguous.
        grads: Gradients of the parameters. [P] float32, contiguous.
        state: State that the step changes; `AdamState.zeros` makes it before the first step.
        group_ends: End of each group in `params`, ascending, the last one at P; G <= 32. An empty group makes no steps.
        active: Whether each group makes a step. The parameters, moments and counts of the others do not change.
        rates: Learning rate of each group. [G] float32.
        betas: Decays of the two moving averages, each in (0, 1).
        eps: Term that is added to the root of the mean square, > 0.
        backend: One of `stgvcodec.ops.backends.BACKENDS`.

    Raises:
        ValueError: a shape, dtype, device or layout differs from the above.
        BackendUnavailableError: `backend` cannot run here.

    Gradients: none. Deterministic: yes.
    """
    _check(params, grads, state, group_ends, active, rates)
    if not all(0 < beta < 1 for beta in betas) or not eps > 0:
        raise ValueError(f"betas are {betas} and eps is {eps}, expected betas in (0, 1) and a positive eps")
    step = select(_IMPLEMENTATIONS, backend, params.device)()
    step(params, grads, state, group_ends, active, rates, betas, eps)


_Step = Callable[
    [Tensor, Tensor, AdamState, tuple[int, ...], tuple[bool, ...], Tensor, tuple[float, float], float], None
]


def _reference() -> _Step:
    from stgvcodec.ops.adam import reference

    return reference.adam_step


def _numba() -> _Step:
    from stgvcodec.ops.adam import numba_kernel

    return numba_kernel.adam_step


def _triton() -> _Step:
    from stgvcodec.ops.adam import triton_kernel

    return triton_kernel.adam_step


# The implementations are imported at their first use, since triton is not everywhere, and numba takes half a second.
_IMPLEMENTATIONS: dict[str, Callable[[], _Step]] = {"reference": _reference, "numba": _numba, "triton": _triton}


def _check(
    params: Tensor,
    grads: Tensor,
    state: AdamState,
    group_ends: tuple[int, ...],
    active: tuple[bool, ...],
    rates: Tensor,
) -> None:
    n_groups = len(group_ends)
    if params.ndim != 1:
        raise ValueError(f"params has shape {list(params.shape)}, expected [P]; flatten them into one vector")
    if not 1 <= n_groups <= MAX_GROUPS:
        raise ValueError(f"group_ends has {n_groups} groups, expected 1 to {MAX_GROUPS}")
    if any(a > b for a, b in zip((0, *group_ends), group_ends, strict=False)) or group_ends[-1] != params.numel():
        raise ValueError(f"group_ends is {group_ends}, expected ascending ends, the last one {params.numel()}")
    if len(active) != n_groups:
        raise ValueError(f"active has {len(active)} entries, expected {n_groups}, one a group")
    n_parameters = params.numel()
    for name, tensor, dtype, n in (
        ("params", params, torch.float32, n_parameters),
        ("grads", grads, torch.float32, n_parameters),
        ("exp_avg", state.exp_avg, torch.float32, n_parameters),
        ("exp_avg_sq", state.exp_avg_sq, torch.float32, n_parameters),
        ("rates", rates, torch.float32, n_groups),
        ("n_steps", state.n_steps, torch.int32, n_groups),
        ("n_nonfinite", state.n_nonfinite, torch.int32, 1),
        ("n_arrived", state.n_arrived, torch.int32, n_groups),
    ):
        if list(tensor.shape) != [n] or tensor.dtype != dtype:
            raise ValueError(f"{name} is {tensor.dtype} {list(tensor.shape)}, expected {dtype} [{n}]")
        if tensor.device != params.device:
            raise ValueError(f"{name} is on {tensor.device}, expected {params.device} as params; move one of them")
        if not tensor.is_contiguous():
            raise ValueError(f"{name} is not contiguous; copy it with .contiguous()")
