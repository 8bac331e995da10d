"""Optimisers that were tried beside Adam, with its interface; only benchmarks and ablations import them.

trainer.optimizer = FlatAdan(trainer.parameter_groups())
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from stgvcodec.fit.optimizer import BETAS, EPS, FlatAdam, FlatOptimizer

GAUSSIAN_GROUPS = ("means", "cholesky", "colors")


class _TorchFlat(FlatOptimizer):
    """A flat optimiser in plain torch: counts of steps, and gradients without NaN and Inf."""

    def __init__(self, groups: Mapping[str, Sequence[nn.Parameter]]) -> None:
        super().__init__(groups)
        self._n_steps = torch.zeros(len(self.names), device=self._device)

    def _ranges(self, active: tuple[bool, ...]) -> list[tuple[int, int, int]]:
        """(group, start, end) of those that make a step, whose steps are counted here."""
        starts = (0, *self._group_ends[:-1])
        spans = [(g, a, b) for g, (a, b) in enumerate(zip(starts, self._group_ends, strict=True)) if active[g]]
        for g, _, _ in spans:
            self._n_steps[g].add_(1)
        return spans

    def _clean(self, start: int, end: int) -> Tensor:
        grad = self._grads[start:end]
        self.n_nonfinite.add_((~torch.isfinite(grad)).sum())
        return torch.nan_to_num(grad, nan=0.0, posinf=0.0, neginf=0.0)


class FlatAdan(_TorchFlat):
    """Adaptive Nesterov momentum (Xie et al. 2022, arXiv 2208.06677), without weight decay.

    With g the gradient, d = g - g_before (0 at the first step), and decays (b1, b2, b3) = (0.98, 0.92, 0.99), all
    three means corrected for their start as Adam's are:

        m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) d,   n <- b3 n + (1 - b3) (g + b2 d)^2
        step = rate (m + b2 v) / (sqrt(n) + eps)
    """

    def __init__(
        self, groups: Mapping[str, Sequence[nn.Parameter]], betas: tuple[float, float, float] = (0.98, 0.92, 0.99)
    ) -> None:
        super().__init__(groups)
        self._betas = betas
        self._moments = [torch.zeros_like(self._params) for _ in range(4)]  # m, v, n, gradient before

    @torch.no_grad()
    def _step_flat(self, active: tuple[bool, ...]) -> None:
        beta1, beta2, beta3 = self._betas
        for g, start, end in self._ranges(active):
            grad = self._clean(start, end)
            mean, difference, square, before = (moment[start:end] for moment in self._moments)
            n_steps = self._n_steps[g].double()
            change = (grad - before) * (n_steps > 1)
            before.copy_(grad)
            mean.lerp_(grad, 1 - beta1)
            difference.lerp_(change, 1 - beta2)
            square.lerp_((grad + beta2 * change) ** 2, 1 - beta3)
            corrections = [(1 - beta**n_steps).float() for beta in self._betas]
            direction = mean / corrections[0] + beta2 * difference / corrections[1]
            self._params[start:end] -= self.rates[g] * direction / ((square / corrections[2]).sqrt() + EPS)

    def _changed_by_steps(self) -> list[Tensor]:
        return [self._params, *self._moments, self._n_steps, self.n_nonfinite]


class GaussianBlocks(_TorchFlat):
    """Second order where N is small: each Gaussian's eight numbers share an 8x8 curvature; the rest is Adam's.

    For a Gaussian with parameters theta in R^8 (2 means, 3 Cholesky, 3 colours) let D be the diagonal of the groups'
    rates and h = D g its gradient in units of a step. The curvature is the empirical Fisher matrix, an average of outer
    products of gradients. It stands in for the Gauss-Newton matrix J^T J, which needs a rasteriser of its own: both sum
    products of the same Jacobian, here weighted by squared residuals, a scale that the root takes out again:

        M <- b2 M + (1 - b2) h h^T,    m <- b1 m + (1 - b1) h      (corrected for their start as Adam's are)
        step = D (M + damping tr(M) / 8 I)^(-1/2) m

    Were M diagonal this would be Adam, so Adam's rates serve; what is new is that a Gaussian's mean, shape and colour
    no longer step against each other. The root, not the inverse (the natural gradient), since M averages about a
    hundred gradients of single frames and is close to singular. The inverse root of N 8x8 matrices by the coupled
    Newton-Schulz iteration, which is products alone and so fits into a CUDA graph: A = M / tr(M), Y = A, Z = I,

        T = (3 I - Z Y) / 2,   Y <- Y T,   Z <- T Z,   Z -> A^(-1/2)
    """

    def __init__(self, groups: Mapping[str, Sequence[nn.Parameter]], damping: float = 1e-3) -> None:
        super().__init__(groups)
        self._damping = damping
        self._blocks = [self._parameters[name][0] for name in GAUSSIAN_GROUPS]
        n_gaussians, n_numbers = len(self._blocks[0]), sum(block.shape[1] for block in self._blocks)
        self._identity = torch.eye(n_numbers, device=self._device)
        self._mean = torch.zeros(n_gaussians, n_numbers, device=self._device)
        self._outer = torch.zeros(n_gaussians, n_numbers, n_numbers, device=self._device)
        self._moments = [torch.zeros_like(self._params) for _ in range(2)]  # Adam's, for the other groups

    @torch.no_grad()
    def _step_flat(self, active: tuple[bool, ...]) -> None:
        ranges = {self.names[g]: (g, start, end) for g, start, end in self._ranges(active)}
        gaussians = [ranges.pop(name) for name in GAUSSIAN_GROUPS if name in ranges]
        if gaussians:
            if len(gaussians) < len(GAUSSIAN_GROUPS):
                raise ValueError(f"active has only some of {GAUSSIAN_GROUPS}, which step together")
            self._step_gaussians(gaussians)
        for g, start, end in ranges.values():
            grad = self._clean(start, end)
            mean, square = (moment[start:end] for moment in self._moments)
            mean.lerp_(grad, 1 - BETAS[0])
            square.lerp_(grad * grad, 1 - BETAS[1])
            correction1, correction2 = self._corrections(g)
            self._params[start:end] -= self.rates[g] * (mean / correction1) / ((square / correction2).sqrt() + EPS)

    def _step_gaussians(self, ranges: list[tuple[int, int, int]]) -> None:
        widths = [block.shape[1] for block in self._blocks]
        units = torch.cat([self.rates[g].expand(width) for (g, _, _), width in zip(ranges, widths, strict=True)])  # [8]
        grads = [
            self._clean(start, end)[: block.numel()].view(block.shape)
            for (_, start, end), block in zip(ranges, self._blocks, strict=True)
        ]
        grad = torch.cat(grads, dim=1) * units  # [N, 8]
        self._mean.lerp_(grad, 1 - BETAS[0])
        self._outer.lerp_(grad[:, :, None] * grad[:, None, :], 1 - BETAS[1])
        correction1, correction2 = self._corrections(ranges[0][0])
        root = inverse_root(self._outer / correction2, self._identity, self._damping)
        change = (root @ (self._mean / correction1)[:, :, None])[:, :, 0] * units
        for block, part in zip(self._blocks, change.split(widths, dim=1), strict=True):
            block.sub_(part)

    def _corrections(self, g: int) -> list[Tensor]:
        return [(1 - beta ** self._n_steps[g].double()).float() for beta in BETAS]

    def _changed_by_steps(self) -> list[Tensor]:
        return [self._params, self._mean, self._outer, *self._moments, self._n_steps, self.n_nonfinite]


def inverse_root(matrices: Tensor, identity: Tensor, damping: float, n_iterations: int = 16) -> Tensor:
    """(M + damping tr(M) / n I)^(-1/2) of positive semidefinite M [N, n, n]; 0 where M is 0.

    An eigenvalue of A = M / tr(M) is at least damping / n, and each iteration multiplies a small one by 9 / 4: sixteen
    take 1e-4 to 1, with four to spare for the digits.
    """
    n = matrices.shape[-1]
    trace = matrices.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    is_known = trace > 1e-30
    y = torch.where(is_known, matrices / trace.clamp_min(1e-30), identity / n) + damping / n * identity
    size = 1 + damping
    y = y / size
    z = identity.expand_as(y)
    for _ in range(n_iterations):
        t = 1.5 * identity - 0.5 * (z @ y)
        y, z = y @ t, t @ z
    return torch.where(is_known, z / (trace * size).clamp_min(1e-30).sqrt(), 0.0)


OPTIMIZERS: dict[str, Callable[[Mapping[str, Sequence[nn.Parameter]]], FlatOptimizer]] = {
    "adam": lambda groups: FlatAdam(groups, backend="auto"),
    "adan": FlatAdan,
    "blocks": GaussianBlocks,
}
