"""Triton's kernels against the reference, which tests/quant holds against results by hand."""

from __future__ import annotations

import math
from contextlib import nullcontext

import pytest
import torch
from tensors import CPU, bits, no_waiting
from tolerances import assert_close
from torch import Tensor

from stgvcodec.ops.residual_vq import residual_vq, residual_vq_encode, residual_vq_update

# Numbers of colours, stages and codewords.
SIZES = [
    (0, 2, 8), (1, 2, 8), (63, 2, 8), (300, 3, 5), (200, 1, 1), (63, 8, 3), (130, 3, 32), (40, 1, 33), (63, 1, 256),
]  # fmt: skip


def make_inputs(n_colors: int, n_stages: int, n_codewords: int, device: torch.device) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n_colors)
    x = torch.randn(n_colors, 3, generator=generator)
    codebooks = torch.randn(n_stages, n_codewords, 3, generator=generator)
    codebooks *= 0.5 ** torch.arange(n_stages)[:, None, None]
    return x.to(device), codebooks.to(device)


def assert_agree(x: Tensor, codebooks: Tensor) -> None:
    results = {}
    for backend in ("triton", "reference"):
        leaf = x.detach().clone().requires_grad_()
        decoded, loss = residual_vq(leaf, codebooks, backend=backend)
        upstream = torch.cos(torch.arange(x.numel(), device=x.device)).reshape(x.shape)
        ((decoded * upstream).sum() + 3.0 * x.shape[0] * loss).backward()
        encoding = residual_vq_encode(x, codebooks, backend=backend)
        assert torch.equal(bits(encoding.decoded), bits(decoded))
        results[backend] = (decoded, loss, leaf.grad, encoding.indices)
    (decoded, loss, grad, indices), (true_decoded, true_loss, true_grad, true_indices) = results.values()
    assert indices.dtype == true_indices.dtype == torch.uint8
    assert torch.equal(indices, true_indices)
    assert torch.equal(bits(decoded), bits(true_decoded))
    assert_close(loss, true_loss, "residual_vq")
    assert_close(grad, true_grad, "residual_vq")


@pytest.mark.parametrize(("n_colors", "n_stages", "n_codewords"), SIZES)
def test_triton_against_the_reference(triton_device, n_colors, n_stages, n_codewords):
    assert_agree(*make_inputs(n_colors, n_stages, n_codewords, triton_device))


def test_colours_and_codewords_that_are_no_numbers_or_too_large(triton_device):
    x, codebooks = make_inputs(63, 2, 8, triton_device)
    special = torch.tensor([math.nan, math.inf, -math.inf, 7e4, -1e30, 1e-41, -0.0], device=triton_device)
    x[:21] = special.repeat(3, 3).t()[:21]
    codebooks[0, :3] = special[:3, None]
    codebooks[1, 2] = special[3:6]
    assert_agree(x, codebooks)


def test_the_first_among_equals_wins(triton_device):
    x, codebooks = make_inputs(63, 2, 4, triton_device)
    codebooks = codebooks.repeat(1, 2, 1)
    assert_agree(x, codebooks)
    assert int(residual_vq_encode(x, codebooks, backend="triton").indices.max()) < 4


def test_layouts_of_memory_do_not_matter(triton_device):
    x, codebooks = make_inputs(63, 2, 8, triton_device)
    assert_agree(x.t().contiguous().t(), codebooks.transpose(0, 1).contiguous().transpose(0, 1))


def test_no_gradient_reaches_the_codebooks(triton_device):
    x, codebooks = make_inputs(9, 2, 3, triton_device)
    codebooks.requires_grad_()
    decoded, loss = residual_vq(x.requires_grad_(), codebooks, backend="triton")
    (decoded.sum() + loss).backward()
    assert codebooks.grad is None


@pytest.mark.slow
@pytest.mark.parametrize(("n_colors", "n_stages", "n_codewords"), SIZES)
def test_update_against_the_reference(triton_device, n_colors, n_stages, n_codewords):
    x, codebooks = make_inputs(n_colors, n_stages, n_codewords, triton_device)
    usage = torch.arange(n_stages * n_codewords, device=triton_device).float().reshape(n_stages, n_codewords)
    results = {}
    for backend in ("triton", "reference"):
        moved, counted = codebooks.clone(), usage.clone()
        for _ in range(2):
            residual_vq_update(x, moved, counted, decay=0.9, backend=backend)
        results[backend] = (moved, counted)
    for seen, truth in zip(results["triton"], results["reference"], strict=True):
        assert_close(seen, truth, "residual_vq")
    assert torch.equal(results["triton"][0], codebooks) == (n_colors == 0)


def test_codewords_without_members_stay_and_their_usage_decays(triton_device):
    x = torch.zeros(5, 3, device=triton_device)
    codebooks = torch.tensor([[[0.5, 0.0, 0.0], [9.0, 9.0, 9.0]]], device=triton_device)
    usage = torch.tensor([[0.0, 2.0]], device=triton_device)
    for backend in ("triton", "reference"):
        moved, counted = codebooks.clone(), usage.clone()
        residual_vq_update(x, moved, counted, decay=0.75, backend=backend)
        assert moved.tolist() == [[[0.0, 0.0, 0.0], [9.0, 9.0, 9.0]]]
        assert counted.tolist() == [[1.25, 1.5]]


def test_refuses_arguments():
    x, codebooks = make_inputs(4, 2, 3, CPU)
    for arguments, message in (
        ((x[:, :2], codebooks), r"x is torch.float32 \[4, 2\], expected torch.float32 \[N, 3\]"),
        ((x.double(), codebooks), "x is torch.float64"),
        ((x, codebooks[0]), r"codebooks have shape \[3, 3\], expected \[M, K, 3\]"),
        ((x, codebooks[:, :0]), "2 stages of 0 codewords, expected 1 to 8 of 1 to 256"),
        ((x, codebooks.double()), "codebooks are torch.float64 on cpu, expected torch.float32"),
    ):
        with pytest.raises(ValueError, match=message):
            residual_vq(*arguments)
    with pytest.raises(ValueError, match=r"usage is torch.float32 \[3\] on cpu, expected torch.float32 \[2, 3\]"):
        residual_vq_update(x, codebooks, torch.zeros(3), decay=0.9)
    with pytest.raises(ValueError, match="expected contiguous ones"):
        residual_vq_update(x, codebooks, torch.zeros(3, 2).t(), decay=0.9)


@pytest.mark.gpu
@pytest.mark.parametrize(("n_stages", "n_codewords"), [(2, 8), (3, 32), (2, 256), (8, 256)])
def test_real_size(n_stages, n_codewords):
    x, codebooks = make_inputs(20_000, n_stages, n_codewords, torch.device("cuda"))
    assert_agree(x, codebooks)
    results = []
    for backend in ("triton", "triton", "reference"):
        moved, usage = codebooks.clone(), torch.full((n_stages, n_codewords), 5.0, device="cuda")
        residual_vq_update(x, moved, usage, decay=0.99, backend=backend)
        results.append((moved, usage))
    assert all(torch.equal(a, b) for a, b in zip(results[0], results[1], strict=True))
    for seen, truth in zip(results[0], results[2], strict=True):
        assert_close(seen, truth, "residual_vq")


@pytest.mark.gpu
def test_nothing_waits_for_the_device():
    x, codebooks = make_inputs(500, 2, 8, torch.device("cuda"))
    usage = torch.ones(2, 8, device="cuda")
    x.requires_grad_()
    for backend in ("reference", "triton"):
        for mode in (nullcontext(), no_waiting()):  # the first calls compile
            with mode:
                decoded, loss = residual_vq(x, codebooks, backend=backend)
                (decoded.sum() + loss).backward()
                residual_vq_update(x.detach(), codebooks, usage, decay=0.99, backend=backend)
