"""Weighted colours by residual vector quantisation, Eqs. (11)-(12)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stgvcodec.quant import half_float
from stgvcodec.quant.kmeans import cluster_sums, kmeans, nearest

N_CHANNELS = 3

# In samples. A new codeword starts with a usage of 1, so with a decay of 0.99 it has 69 updates to win a sample.
_UNUSED_BELOW = 0.5


def dequantize(
    symbols: NDArray[np.uint8], codebooks: NDArray[np.uint16], *, device: torch.device | str = "cpu"
) -> Tensor:
    """Values of codeword indices: zero, plus the codeword of each stage in order, one float32 addition a stage.

    Args:
        symbols: Codeword index per stage. [N, M] uint8.
        codebooks: Half bit patterns, finite. [M, K, 3] uint16.
        device: Where the result lives.

    Returns:
        [N, 3] float32.

    Raises:
        ValueError: a shape or dtype differs from the above, or an index is not below K.
    """
    if symbols.dtype != np.uint8 or symbols.ndim != 2:
        raise ValueError(f"colour indices are {symbols.dtype} {list(symbols.shape)}, expected uint8 [N, M]")
    n_stages = symbols.shape[1]
    if codebooks.ndim != 3 or codebooks.shape[0] != n_stages or codebooks.shape[2] != N_CHANNELS:
        raise ValueError(f"codebooks have shape {list(codebooks.shape)}, expected [{n_stages}, K, 3]")
    if symbols.size and int(symbols.max()) >= codebooks.shape[1]:
        raise ValueError(
            f"colour index {int(symbols.max())} found, expected indices below the codebook size {codebooks.shape[1]}"
        )
    indices = torch.from_numpy(symbols.astype(np.int64)).to(device)
    return _sum_codewords(indices, half_float.dequantize(codebooks, device=device))


def _sum_codewords(indices: Tensor, codebooks: Tensor) -> Tensor:
    total = torch.zeros(indices.shape[0], N_CHANNELS, device=codebooks.device)
    for stage, codebook in enumerate(codebooks):
        total = total + codebook.index_select(0, indices[:, stage])
    return total


def _bounded(x: Tensor) -> Tensor:
    """Colours within the range of codewords, so that no distance overflows; NaN counts as zero."""
    return torch.nan_to_num(x, nan=0.0).clamp(-half_float.HALF_MAX, half_float.HALF_MAX)


class _Encoding(NamedTuple):
    indices: Tensor  # [N, M] int64
    decoded: Tensor  # Sum of the codewords, as the decoder adds them. [N, 3]
    targets: list[Tensor]  # What each stage approximates: x less the sum of the earlier stages. M times [N, 3].
    errors: Tensor  # Squared error that each stage leaves. [M, N]


def _encode(x: Tensor, codebooks: Tensor) -> _Encoding:
    colors = _bounded(x)
    decoded = torch.zeros_like(colors)
    indices, targets, errors = [], [], []
    for codebook in codebooks:
        target = colors - decoded
        stage_indices, stage_errors = nearest(target, codebook)
        decoded = decoded + codebook.index_select(0, stage_indices)
        indices.append(stage_indices)
        targets.append(target)
        errors.append(stage_errors)
    return _Encoding(torch.stack(indices, dim=1), decoded, targets, torch.stack(errors))


class _ResidualQuantize(torch.autograd.Function):
    """The decoder's values and the commitment loss, both differentiable in x only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor]:
        encoding = _encode(x, codebooks)
        ctx.weight = 1.0 / (max(x.shape[0], 1) * codebooks.shape[1])
        # What stage m leaves is what stage m + 1 aims at; the last stage's is taken from the sum.
        left = [*encoding.targets[1:], _bounded(x) - encoding.decoded]
        ctx.save_for_backward(torch.stack(left).sum(dim=0))
        return encoding.decoded, encoding.errors.sum() * ctx.weight

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        grad_decoded, grad_loss = grad_outputs
        (left,) = ctx.saved_tensors
        return grad_decoded + (2.0 * ctx.weight * grad_loss) * left, None


class ResidualVectorQuantizer(nn.Module):
    """M stages, each coding what the stages before it left with the nearest of K codewords.

    Implements Eqs. (11)-(12) of Lin et al. 2026 (arXiv 2604.10910). The printed (12) stops the gradient of the
    residual, which leaves none when codebooks are moving averages; here it stops that of the codeword, the usual
    commitment loss. Codewords are rounded to half precision in every use. They are no parameters: `update` moves them.

    Args:
        n_stages: M.
        codebook_size: K, 1 to 256.
        decay: Share of the old average that one `update` keeps.

    Raises:
        ValueError: an argument outside its range.
    """

    codebooks: Tensor
    usage: Tensor

    def __init__(self, *, n_stages: int = 2, codebook_size: int = 8, decay: float = 0.99) -> None:
        super().__init__()
        if n_stages < 1:
            raise ValueError(f"n_stages is {n_stages}, expected at least 1")
        if not 1 <= codebook_size <= 256:
            raise ValueError(f"codebook_size is {codebook_size}, expected 1 to 256; symbols are bytes")
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"decay is {decay}, expected 0 <= decay < 1")
        self.n_stages = n_stages
        self.codebook_size = codebook_size
        self.decay = decay
        self.register_buffer("codebooks", torch.zeros(n_stages, codebook_size, N_CHANNELS))
        self.register_buffer("usage", torch.zeros(n_stages, codebook_size))

    @torch.no_grad()
    def initialize(self, x: Tensor, *, seed: int = 0) -> None:
        """Set the codebooks by k-means, stage by stage on what the earlier stages leave.

        Args:
            x: Colours. [N, 3] float32; fewer than K distinct ones are fine, N = 0 gives zeros.
            seed: Of the k-means++ seeding; the same seed and colours give the same codebooks.

        Raises:
            ValueError: a shape or dtype differs from the above.
        """
        self._check(x)
        generator = torch.Generator().manual_seed(seed)
        colors = _bounded(x)
        decoded = torch.zeros_like(colors)
        for stage in range(self.n_stages):
            target = _bounded(colors - decoded)
            centroids, counts = kmeans(target, self.codebook_size, generator)
            self.codebooks[stage] = centroids.float()
            self.usage[stage] = counts.float()
            codebook = self.transmitted_codebooks()[stage]
            decoded = decoded + codebook[nearest(target, codebook)[0]]

    def transmitted_codebooks(self) -> Tensor:
        """Codebooks at the precision of the file. [M, K, 3] float32."""
        return half_float.round_to_half(self.codebooks).float()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the decoder's values and the commitment loss.

        Args:
            x: Weighted colours. [N, 3] float32.

        Returns:
            x_hat: Values as decoded. [N, 3] float32.
            commitment_loss: 1 / (N K) times the sum over colours and stages of ||target - sg[codeword]||^2, target
                being x less the sum of the earlier stages; 0 when N = 0. Scalar float32.

        Raises:
            ValueError: a shape or dtype differs from the above.

        Gradients: straight-through (identity) from x_hat to x; from the loss to x, 2 / (N K) times the sum of the
        stages' errors. Deterministic: yes.
        """
        self._check(x)
        x_hat, commitment_loss = _ResidualQuantize.apply(x, self.transmitted_codebooks())
        return x_hat, commitment_loss

    @torch.no_grad()
    def update(self, x: Tensor) -> int:
        """Move the codewords towards the means of the targets they stand for.

        The trainer calls it once a step, after the optimiser; codebooks freeze when it stops calling. Moving averages
        of counts and sums, as in VQ-VAE. Codewords that are hardly ever chosen restart at the samples
        that are reconstructed worst, the worst first, each sample at most once.

        Args:
            x: Colours. [N, 3] float32; with N = 0 nothing changes.

        Returns:
            How many codewords restarted.

        Raises:
            ValueError: a shape or dtype differs from the above.
        """
        self._check(x)
        if x.shape[0] == 0:
            return 0
        encoding = _encode(x, self.transmitted_codebooks())
        for stage, target in enumerate(encoding.targets):
            counts, sums = cluster_sums(target, encoding.indices[:, stage], self.codebook_size)
            usage = self.decay * self.usage[stage].double() + (1.0 - self.decay) * counts
            pull = (1.0 - self.decay) * counts / usage.clamp_min(torch.finfo(torch.float64).tiny)
            means = sums / counts.clamp_min(1.0)[:, None]
            codebook = self.codebooks[stage].double()
            self.codebooks[stage] = (codebook + pull[:, None] * (means - codebook)).float()
            self.usage[stage] = usage.float()
        return self._restart_unused(encoding)

    @torch.no_grad()
    def symbols(self, x: Tensor) -> NDArray[np.uint8]:
        """Codeword indices to transmit. [N, M] uint8."""
        self._check(x)
        indices: NDArray[np.uint8] = _encode(x, self.transmitted_codebooks()).indices.to(torch.uint8).cpu().numpy()
        return indices

    def side(self) -> dict[str, NDArray[np.uint16]]:
        """`codebooks` as half bit patterns. [M, K, 3] uint16."""
        return {"codebooks": half_float.bit_patterns(half_float.round_to_half(self.codebooks))}

    def _restart_unused(self, encoding: _Encoding) -> int:
        unused = torch.nonzero(self.usage < _UNUSED_BELOW).tolist()
        if not unused:
            return 0
        errors = encoding.errors[-1]
        order = errors.sort(descending=True, stable=True).indices.tolist()
        n_restarted = 0
        for (stage, codeword), sample in zip(unused, order, strict=False):
            if errors[sample] > 0:
                self.codebooks[stage, codeword] = _bounded(encoding.targets[stage][sample])
                self.usage[stage, codeword] = 1.0
                n_restarted += 1
        return n_restarted

    def _check(self, x: Tensor) -> None:
        if x.ndim != 2 or x.shape[1] != N_CHANNELS or x.dtype != torch.float32:
            raise ValueError(f"residual vector quantiser got {x.dtype} {list(x.shape)}, expected torch.float32 [N, 3]")
