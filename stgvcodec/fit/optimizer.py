"""The optimiser of the training loop: Adam, with a learning rate for each named group that is read on the device.

No step waits for the device or depends on a value of the host, so that a CUDA graph can hold it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stgvcodec.ops.adam import AdamState, adam_step
from stgvcodec.ops.backends import resolve_backend

BETAS = (0.9, 0.99)
EPS = 1e-15

# Every parameter begins at a multiple of this many elements of the flat vector (128 bytes, a line of the cache), since
# kernels load aligned elements four at a time.
_ALIGNMENT = 32


@dataclass(frozen=True)
class OptimizerState:
    """Copies of the parameters, moments and counters that `Optimizer.snapshot` makes, on the device."""

    names: tuple[str, ...]
    tensors: tuple[Tensor, ...]


class Optimizer(ABC):
    """Optimiser of named groups of parameters, each with its own learning rate.

    Attributes:
        names: Names of the groups, in the order of the rates.
        rates: Learning rate of each group, which the caller overwrites in place (`optimizer.rates.copy_(...)`). [G]
            float32 on the parameters' device.
        n_nonfinite: Number of gradient elements that were NaN or Inf since the beginning; each counts as 0 in its step.
            The caller reads it now and then. [1] int32 on the device.
    """

    def __init__(self, groups: Mapping[str, Sequence[nn.Parameter]]) -> None:
        """Take the groups; rates are zero until the caller sets them.

        Args:
            groups: Parameters of each group, by its name; all float32, on one device and each in one group only.

        Raises:
            ValueError: there is no parameter, a parameter comes twice, or its dtype or device is not that of the first.
        """
        self._parameters = {name: list(parameters) for name, parameters in groups.items()}
        everything = self._all_parameters()
        if not everything:
            raise ValueError("groups have no parameters; expected one at least")
        if len({id(parameter) for parameter in everything}) < len(everything):
            raise ValueError("groups have a parameter twice; expected each in one group only")
        self._device = everything[0].device
        for name, parameters in self._parameters.items():
            for parameter in parameters:
                if parameter.dtype != torch.float32 or parameter.device != self._device:
                    raise ValueError(
                        f"a parameter of group '{name}' is {parameter.dtype} on {parameter.device}, "
                        f"expected torch.float32 on {self._device}"
                    )
        self.names = tuple(self._parameters)
        self.rates = torch.zeros(len(self.names), device=self._device)
        self.n_nonfinite = torch.zeros(1, dtype=torch.int32, device=self._device)

    def zero_grad(self) -> None:
        """Forget all gradients; they become None, so that the next backward pass stores its own instead of adding."""
        for parameter in self._all_parameters():
            parameter.grad = None

    @abstractmethod
    def step(self, active: Collection[str]) -> None:
        """Make one step of the named groups; the other groups, their moments and their step counts do not change.

        Raises:
            ValueError: a name is not that of a group.
        """

    def snapshot(self) -> OptimizerState:
        """Copy everything that steps change, on the device."""
        return OptimizerState(self.names, tuple(tensor.detach().clone() for tensor in self._changed_by_steps()))

    @torch.no_grad()
    def restore(self, state: OptimizerState) -> None:
        """Write a snapshot back, in place, so that captured graphs stay valid. The rates do not change.

        Raises:
            ValueError: the snapshot is of other groups.
        """
        tensors = self._changed_by_steps()
        if state.names != self.names or [t.shape for t in state.tensors] != [t.shape for t in tensors]:
            raise ValueError(f"the snapshot is of groups {state.names}, expected {self.names} of the same sizes")
        for tensor, saved in zip(tensors, state.tensors, strict=True):
            tensor.copy_(saved)

    @abstractmethod
    def _changed_by_steps(self) -> list[Tensor]: ...

    def _all_parameters(self) -> list[nn.Parameter]:
        return [parameter for parameters in self._parameters.values() for parameter in parameters]

    def _chosen(self, active: Collection[str]) -> tuple[bool, ...]:
        unknown = set(active) - set(self.names)
        if unknown:
            raise ValueError(f"active names {sorted(unknown)}, expected some of {list(self.names)}")
        return tuple(name in active for name in self.names)


def make_optimizer(groups: Mapping[str, Sequence[nn.Parameter]], *, backend: str) -> Optimizer:
    """Make the Adam of a back end, with betas (0.9, 0.99) and eps 1e-15.

    Args:
        groups: Parameters of each group, by its name; all float32, on one device and each in one group only.
        backend: Back end, "auto", "reference", "numba" or "triton".

    Returns:
        A `TorchAdam` for "reference"; otherwise a `FlatAdam`, which moves the parameters into one vector.

    Raises:
        ValueError: the groups are not as `Optimizer` takes them.
        BackendUnavailableError: `backend` cannot run here.
    """
    device = next((parameter.device for parameters in groups.values() for parameter in parameters), torch.device("cpu"))
    resolved = resolve_backend(backend, device)
    return TorchAdam(groups) if resolved == "reference" else FlatAdam(groups, backend=resolved)


class TorchAdam(Optimizer):
    """torch's fused Adam, one call a group. A parameter without a gradient is passed over, and makes no step."""

    def __init__(self, groups: Mapping[str, Sequence[nn.Parameter]]) -> None:
        """Take the groups as `Optimizer` does."""
        super().__init__(groups)
        # The rate of a group is a view, so that it follows what the caller writes into the rates.
        named = zip(self._parameters.values(), self.rates, strict=True)
        self._adam = torch.optim.Adam(
            [{"params": parameters, "lr": rate} for parameters, rate in named],
            betas=BETAS,
            eps=EPS,
            fused=True,
            capturable=self._device.type == "cuda",
        )
        self._groups = self._adam.param_groups
        # torch would make this state at a parameter's first step; made here, a snapshot may come before that.
        for parameter in self._all_parameters():
            self._adam.state[parameter] = {
                "step": torch.zeros((), device=self._device),
                "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            }

    def step(self, active: Collection[str]) -> None:
        """Make one step of the named groups; see `Optimizer.step`."""
        chosen = zip(self._groups, self._chosen(active), strict=True)
        self._adam.param_groups = [group for group, is_active in chosen if is_active]
        self._drop_nonfinite()
        self._adam.step()

    def _drop_nonfinite(self) -> None:
        groups = self._adam.param_groups
        grads = [parameter.grad for group in groups for parameter in group["params"] if parameter.grad is not None]
        # On a CPU a finite sum, which takes one pass without a temporary, tells that all elements are finite.
        if self._device.type == "cpu" and math.isfinite(math.fsum(float(grad.sum()) for grad in grads)):
            return
        for grad in grads:
            self.n_nonfinite += (~torch.isfinite(grad)).sum()
            grad.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)

    def _changed_by_steps(self) -> list[Tensor]:
        parameters = self._all_parameters()
        moments = [tensor for parameter in parameters for tensor in self._adam.state[parameter].values()]
        return [*parameters, *moments, self.n_nonfinite]


class FlatOptimizer(Optimizer):
    """Optimiser whose parameters become views of one vector; it gathers their gradients in another.

    A parameter of an active group that has no gradient counts as one whose gradient is zero.
    """

    def __init__(self, groups: Mapping[str, Sequence[nn.Parameter]]) -> None:
        """Take the groups as `Optimizer` does. The parameters stay the same objects; their storage changes."""
        super().__init__(groups)
        self._gather_parameters()

    def step(self, active: Collection[str]) -> None:
        """Make one step of the named groups; see `Optimizer.step`.

        Raises:
            ValueError: a name is not that of a group.
            RuntimeError: a parameter's data were replaced since it was moved into the vector.
        """
        chosen = self._chosen(active)
        self._gather_gradients()
        self._step_flat(chosen)

    @abstractmethod
    def _step_flat(self, active: tuple[bool, ...]) -> None:
        """Step `self._params` by `self._grads`."""

    def _gather_parameters(self) -> None:
        self._offsets: list[int] = []
        ends = []
        n = 0
        for parameters in self._parameters.values():
            for parameter in parameters:
                self._offsets.append(n)
                n += -(-parameter.numel() // _ALIGNMENT) * _ALIGNMENT
            ends.append(n)
        self._group_ends = tuple(ends)
        self._params = torch.zeros(n, device=self._device)
        self._grads = torch.zeros(n, device=self._device)
        self._zeros = torch.zeros(max(_ALIGNMENT, *(p.numel() for p in self._all_parameters())), device=self._device)
        # The zeros behind each parameter; None if it ends where the next begins.
        lengths = [-parameter.numel() % _ALIGNMENT for parameter in self._all_parameters()]
        self._paddings = [self._zeros[:length] if length else None for length in lengths]
        for parameter, offset in zip(self._all_parameters(), self._offsets, strict=True):
            view = self._params[offset : offset + parameter.numel()].view(parameter.shape)
            view.copy_(parameter.detach())
            parameter.data = view

    @torch.no_grad()
    def _gather_gradients(self) -> None:
        pieces = []
        base = self._params.data_ptr()
        for parameter, offset, padding in zip(self._all_parameters(), self._offsets, self._paddings, strict=True):
            gradient = parameter.grad
            if parameter.data_ptr() != base + 4 * offset and parameter.numel():
                raise RuntimeError("a parameter's data were replaced after the optimiser took it; make a new optimiser")
            pieces.append(self._zeros[: parameter.numel()] if gradient is None else gradient.reshape(-1))
            if padding is not None:
                pieces.append(padding)
        torch.cat(pieces, out=self._grads)


class FlatAdam(FlatOptimizer):
    """Adam as one kernel, behind another that gathers the gradients (`stgvcodec.ops.adam`)."""

    def __init__(self, groups: Mapping[str, Sequence[nn.Parameter]], *, backend: str = "triton") -> None:
        """Take the groups as `FlatOptimizer` does; `backend` is the back end of `adam_step`."""
        super().__init__(groups)
        self._backend = backend
        state = AdamState.zeros(self._params.numel(), len(self.names), self._device)
        self._state = state._replace(n_nonfinite=self.n_nonfinite)
        # This step of no group compiles the kernel and brings all that it reads to the device, so that the first step
        # that counts may be captured.
        self._step_flat((False,) * len(self.names))

    def _step_flat(self, active: tuple[bool, ...]) -> None:
        adam_step(
            self._params,
            self._grads,
            self._state,
            group_ends=self._group_ends,
            active=active,
            rates=self.rates,
            betas=BETAS,
            eps=EPS,
            backend=self._backend,
        )

    def _changed_by_steps(self) -> list[Tensor]:
        return [self._params, *self._state]
