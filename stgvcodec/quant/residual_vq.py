"""Weighted colours by residual vector quantisation, Eqs. (11)-(12)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stgvcodec.ops.residual_vq import (
    MAX_CODEWORDS,
    MAX_STAGES,
    N_CHANNELS,
    bounded,
    nearest,
    residual_vq,
    residual_vq_encode,
    residual_vq_update,
    trace,
)
from stgvcodec.quant import half_float
from stgvcodec.quant.kmeans import kmeans

# A codeword counts as unused below this usage, in samples. A new codeword starts with a usage of 1, so with a decay of
# 0.99 it has 69 updates to win a sample before a restart would move it again.
_UNUSED_BELOW = 0.5


class ResidualVectorQuantizer(nn.Module):
    """Quantiser of M stages, each of which codes what the stages before it left by the nearest of K codewords.

    It implements Eqs. (11)-(12) of Lin et al. 2026 (arXiv 2604.10910). Eq. (12) as printed stops the gradient of the
    residual, which leaves none when codebooks are moving averages; here the gradient of the codeword is stopped, as in
    the usual commitment loss. Codewords are rounded to half precision in every use. They are no parameters of the
    module: `update` moves them.

    Args:
        n_stages: Number of stages M, 1 to 8.
        codebook_size: Codewords of each stage K, 1 to 256.
        decay: Share of the old average that one `update` keeps.
        backend: Back end of the operator.

    Raises:
        ValueError: an argument is outside its range.
    """

    codebooks: Tensor
    usage: Tensor

    def __init__(
        self, *, n_stages: int = 2, codebook_size: int = 8, decay: float = 0.99, backend: str = "auto"
    ) -> None:
        super().__init__()
        if not 1 <= n_stages <= MAX_STAGES:
            raise ValueError(f"n_stages is {n_stages}, expected 1 to {MAX_STAGES}")
        if not 1 <= codebook_size <= MAX_CODEWORDS:
            raise ValueError(f"codebook_size is {codebook_size}, expected 1 to {MAX_CODEWORDS}; symbols are bytes")
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"decay is {decay}, expected 0 <= decay < 1")
        self.n_stages = n_stages
        self.codebook_size = codebook_size
        self.decay = decay
        self.backend = backend
        self.register_buffer("codebooks", torch.zeros(n_stages, codebook_size, N_CHANNELS))
        self.register_buffer("usage", torch.zeros(n_stages, codebook_size))

    @torch.no_grad()
    def initialize(self, x: Tensor, *, seed: int = 0) -> None:
        """Set the codebooks by k-means, stage by stage on what the earlier stages leave.

        Args:
            x: Colours. [N, 3] float32; fewer than K distinct ones are fine, N = 0 gives zeros.
            seed: Seed of k-means++; the same seed and colours give the same codebooks.

        Raises:
            ValueError: a shape or dtype differs from the above.
        """
        self._check(x)
        generator = torch.Generator().manual_seed(seed)
        colors = bounded(x)
        decoded = torch.zeros_like(colors)
        for stage in range(self.n_stages):
            target = bounded(colors - decoded)
            centroids, counts = kmeans(target, self.codebook_size, generator)
            self.codebooks[stage] = centroids.float()
            self.usage[stage] = counts.float()
            codebook = self.transmitted_codebooks()[stage]
            decoded = decoded + codebook.index_select(0, nearest(target, codebook)[0])

    def transmitted_codebooks(self) -> Tensor:
        """Codebooks at the precision of the file. [M, K, 3] float32."""
        return half_float.round_to_half(self.codebooks).float()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the decoder's values and the commitment loss.

        Args:
            x: Weighted colours. [N, 3] float32.

        Returns:
            x_hat: Values as decoded. [N, 3] float32.
            commitment_loss: 1 / (N K) times the sum over colours and stages of ||target - sg[codeword]||^2, where the
                target is x less the sum of the earlier stages; 0 when N = 0. Scalar float32.

        Raises:
            ValueError: a shape or dtype differs from the above.

        Gradients: straight-through (identity) from x_hat to x; from the loss to x, 2 / (N K) times the sum of the
        stages' errors. Deterministic: yes.
        """
        self._check(x)
        return residual_vq(x, self.codebooks, backend=self.backend)

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Move the codewords towards the means of the targets they stand for; nothing here waits for the device.

        The codebooks follow moving averages of counts and sums, as in VQ-VAE. The trainer calls this once a step, after
        the optimiser; the codebooks freeze when it stops calling.

        Args:
            x: Colours. [N, 3] float32; with N = 0 nothing changes.

        Raises:
            ValueError: a shape or dtype differs from the above.
        """
        self._check(x)
        residual_vq_update(x, self.codebooks, self.usage, decay=self.decay, backend=self.backend)

    @torch.no_grad()
    def restart_unused(self, x: Tensor) -> int:
        """Move codewords that are hardly ever chosen to the samples that are reconstructed worst.

        The worst sample comes first, and each is used at most once. The call waits for the device, so the trainer makes
        it only now and then.

        Args:
            x: Colours. [N, 3] float32; with N = 0 nothing changes.

        Returns:
            Number of codewords that were moved.

        Raises:
            ValueError: a shape or dtype differs from the above.
        """
        self._check(x)
        unused = torch.nonzero(self.usage < _UNUSED_BELOW).tolist()
        if not unused or x.shape[0] == 0:
            return 0
        encoded = trace(x, self.codebooks)
        worst = encoded.errors[-1].sort(descending=True, stable=True)
        n_restarted = 0
        for (stage, codeword), sample, error in zip(
            unused, worst.indices[: len(unused)].tolist(), worst.values[: len(unused)].tolist(), strict=False
        ):
            if error > 0:
                self.codebooks[stage, codeword] = bounded(encoded.targets[stage][sample])
                self.usage[stage, codeword] = 1.0
                n_restarted += 1
        return n_restarted

    @torch.no_grad()
    def symbols(self, x: Tensor) -> NDArray[np.uint8]:
        """Return the codeword indices to transmit. [N, M] uint8."""
        self._check(x)
        indices: NDArray[np.uint8] = residual_vq_encode(x, self.codebooks, backend=self.backend).indices.cpu().numpy()
        return indices

    def side(self) -> dict[str, NDArray[np.uint16]]:
        """`codebooks` as half bit patterns. [M, K, 3] uint16."""
        return {"codebooks": half_float.bit_patterns(half_float.round_to_half(self.codebooks))}

    def _check(self, x: Tensor) -> None:
        if x.ndim != 2 or x.shape[1] != N_CHANNELS or x.dtype != torch.float32:
            raise ValueError(f"residual vector quantiser got {x.dtype} {list(x.shape)}, expected torch.float32 [N, 3]")
