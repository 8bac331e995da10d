"""Kernels are compiled ahead of the first fit, many at a time.

A fit would compile one kernel after the other, each where it needs it. Here small calls of the same operators run in
threads, while the source is read, so that compilers work beside each other. Triton and numba keep on the disk what is
compiled, so that it is done once on a machine.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import torch

from stgvcodec.bitstream.payload.pack import pack_gop
from stgvcodec.decoder.gop_renderer import unpack
from stgvcodec.device import on_device
from stgvcodec.encoder.gop_symbols import symbols_of
from stgvcodec.encoder.model_size import STILL_FIELD
from stgvcodec.encoder.profiles import PROFILES, Profile
from stgvcodec.fit.optimizer import make_optimizer
from stgvcodec.fit.phases import QUANTIZED_STREAMS
from stgvcodec.fit.quantizers import GopQuantizers
from stgvcodec.model.deformation import DeformationField, FieldSpec
from stgvcodec.model.gaussians import CanonicalGaussians
from stgvcodec.model.gop_model import Clock, GopModel, GopParameters, GopSpec, canonical_px, deformed_px
from stgvcodec.ops.ans import is_compiled
from stgvcodec.ops.half_round import half_round
from stgvcodec.ops.rasterize import PairBudget, rasterize, rasterize_uint8
from stgvcodec.ops.splat_loss import splat_loss
from stgvcodec.progress import PROGRESS_INTERVAL_SECONDS

logger = logging.getLogger(__name__)

_WIDTH, _HEIGHT, _N_FRAMES, _N_GAUSSIANS = 48, 32, 2, 64
_N_PAIRS = 64 * _N_GAUSSIANS
_N_THREADS = 8
# Kernels that were compiled before are there in this time.
_FROM_DISK_SECONDS = 4.0


class CompileAhead:
    """Compiles in threads what the fits of a profile will need.

    It is a context, at whose end the threads have ended; where an exception ends it they still finish their kernels.

    Args:
        profile: Profile of the fits.
        device: Device of the fits.
        backend: Back end of the operators; "reference" has nothing to compile.
    """

    def __init__(self, profile: Profile, device: torch.device, backend: str) -> None:
        self._profile, self._device, self._backend = profile, device, backend
        self._pool = ThreadPoolExecutor(_N_THREADS)
        self._under_way: list[Future[None]] = []
        self._first_kernel: Future[None] | None = None

    def __enter__(self) -> CompileAhead:
        """Start to compile what does not depend on the size of the field."""
        small = _SmallModel(self._profile, STILL_FIELD, self._device, self._backend)
        # With the first kernel of a process Triton hashes itself, a second's work that each thread would do otherwise.
        if self._backend == "triton":
            self._first_kernel = self._pool.submit(_logged, small.round_halves, self._device)
        self._start(small.train_splats, small.train_quantizers, small.draw)
        # The coder is needed only at the end of a fit, for which `finish` need not wait.
        self._pool.submit(_logged, _compile_coder, torch.device("cpu"))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for the threads, but not where an exception is on its way: nothing can interrupt a compiler."""
        self._pool.shutdown(wait=kind is None, cancel_futures=True)

    def start(self, fields: Iterable[FieldSpec]) -> None:
        """Start to compile for fields of these dimensions."""
        self._start(*(_SmallModel(self._profile, each, self._device, self._backend).train_field for each in fields))

    def finish(self, on_wait: Callable[[int, int], None]) -> None:
        """Wait until all that a fit needs from its first step is compiled.

        Args:
            on_wait: Called now and then once it takes longer than kernels take that come from the disk, with the number
                of parts of a fit whose kernels are there and the number of all.
        """
        _, pending = wait(self._under_way, timeout=_FROM_DISK_SECONDS)
        while pending:
            on_wait(len(self._under_way) - len(pending), len(self._under_way))
            _, pending = wait(pending, timeout=PROGRESS_INTERVAL_SECONDS)

    def _start(self, *jobs: Callable[[], None]) -> None:
        if self._backend != "reference":
            self._under_way += [self._pool.submit(self._after_first_kernel, job) for job in jobs]

    def _after_first_kernel(self, job: Callable[[], None]) -> None:
        if self._first_kernel is not None:
            wait([self._first_kernel])
        _logged(job, self._device)


def _logged(job: Callable[[], None], device: torch.device) -> None:
    # What fails here fails in the fit too, which says so in its own words.
    try:
        with on_device(device):
            job()
    except Exception as error:
        logger.debug("compiling ahead: %s", error)


@dataclass(frozen=True)
class _SmallModel:
    """A small model, whose methods are calls that do nothing but compile."""

    profile: Profile
    field: FieldSpec
    device: torch.device
    backend: str

    @property
    def spec(self) -> GopSpec:
        return GopSpec(_WIDTH, _HEIGHT, _N_FRAMES, _N_GAUSSIANS, self.field)

    def model(self) -> GopModel:
        generator = torch.Generator().manual_seed(0)
        means, cholesky, colors = torch.rand(3, _N_GAUSSIANS, 3, generator=generator).to(self.device)
        gaussians = CanonicalGaussians(2.0 * means[:, :2] - 1.0, cholesky, colors, width=_WIDTH, height=_HEIGHT)
        return GopModel(gaussians, DeformationField(self.field, generator=generator, device=self.device))

    def train_splats(self) -> None:
        """Draw with gradients, with room for pairs as in a step, and without as at the start of colours."""
        model = self.model()
        means, cholesky, colors = canonical_px(model.gop_parameters(), self.spec)
        frames = torch.zeros(_N_FRAMES, _HEIGHT, _WIDTH, 3, dtype=torch.uint8, device=self.device)
        picked = torch.zeros(1, dtype=torch.int64, device=self.device)
        budget = PairBudget.of(_N_PAIRS, self.device)
        loss, _ = splat_loss(means, cholesky, colors, frames, picked, backend=self.backend, budget=budget)
        loss.backward()  # type: ignore[no-untyped-call]
        means, cholesky, colors = means.detach(), cholesky.detach(), colors.detach().requires_grad_()
        image = rasterize(means, cholesky, colors, height=_HEIGHT, width=_WIDTH, backend=self.backend)
        image.sum().backward()  # type: ignore[no-untyped-call]
        make_optimizer({"means": list(model.gaussians.parameters())}, backend=self.backend)

    def train_field(self) -> None:
        """Deform with gradients."""
        at = Clock(self.spec, self.device).at(torch.zeros(1, dtype=torch.int64, device=self.device))
        outputs = deformed_px(self.model().gop_parameters(), self.spec, at, backend=self.backend)
        torch.cat([output.reshape(-1) for output in outputs]).sum().backward()  # type: ignore[no-untyped-call]

    def round_halves(self) -> None:
        """Run the smallest kernel that there is."""
        half_round(torch.zeros(1, device=self.device), backend=self.backend)

    def quantizers(self, parameters: GopParameters) -> GopQuantizers:
        quantizers = GopQuantizers(self.spec, self.profile.quantizers, device=self.device, backend=self.backend)
        with torch.no_grad():
            for stream in QUANTIZED_STREAMS:
                quantizers.initialize(stream, parameters)
        return quantizers

    def train_quantizers(self) -> None:
        """Quantise with gradients, and with the rate where the profile has it in its loss."""
        parameters = self.model().gop_parameters()
        quantizers = self.quantizers(parameters)
        if self.profile.quantizers.relative_lmbda > 0:
            with torch.no_grad():
                quantizers.refresh_rate(parameters)
        (means, cholesky, colors, of_field), penalty = quantizers.quantize(parameters, QUANTIZED_STREAMS)
        values = (means, cholesky, colors, *of_field[:2], *of_field.weights)
        loss = torch.cat([value.reshape(-1) for value in values]).sum()
        (loss if penalty is None else loss + penalty).backward()  # type: ignore[no-untyped-call]

    def draw(self) -> None:
        """Draw without gradients, to floats and to 8 bits."""
        with torch.no_grad():
            splats = canonical_px(self.model().gop_parameters(), self.spec)
            rasterize(*splats, height=_HEIGHT, width=_WIDTH, backend=self.backend)
            budget = PairBudget.of(_N_PAIRS, self.device)
            rasterize_uint8(*splats, height=_HEIGHT, width=_WIDTH, backend=self.backend, budget=budget)


def _compile_coder() -> None:
    """Compile the entropy coder's kernels, where they are not on the disk, in a process of its own.

    Compiling by numba holds the interpreter's lock, for which Triton's compiler would wait.
    """
    if not is_compiled():
        command = [sys.executable, "-c", f"import {__name__} as ahead; ahead.code_small_gop()"]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    code_small_gop()


def code_small_gop() -> None:
    """Code a GoP, decode it and compute its parameters, all of which is done by the host."""
    host = torch.device("cpu")
    small = _SmallModel(next(iter(PROFILES.values())), STILL_FIELD, host, "reference")
    model = small.model()
    payload = pack_gop(symbols_of(model, small.spec, small.quantizers(model.gop_parameters())))
    unpack(payload, width=_WIDTH, height=_HEIGHT, device=host, backend="numba")
