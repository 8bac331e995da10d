from __future__ import annotations

import threading
import time

import numba
import pytest
import torch

from stgvcodec.encoder import compile_ahead
from stgvcodec.encoder.compile_ahead import CompileAhead, code_small_gop
from stgvcodec.encoder.model_size import field_spec
from stgvcodec.encoder.presets import FIELD_SIZES
from stgvcodec.encoder.profiles import PROFILES
from stgvcodec.ops.ans import is_compiled

CPU = torch.device("cpu")
FIELDS = [field_spec(FIELD_SIZES[-2], 8, has_shape_head=has_head) for has_head in (True, False)]


@pytest.mark.parametrize("job", ["round_halves", "train_splats", "train_field", "train_quantizers", "draw"])
@pytest.mark.parametrize("name", PROFILES)
def test_every_job_runs_to_its_end(name, job):
    """In a fit a failure would be told by the fit; here nothing may hide one."""
    for field in FIELDS:
        getattr(compile_ahead._SmallModel(PROFILES[name], field, CPU, "numba"), job)()


def test_triton_hashes_itself_in_one_thread_before_the_others_begin(monkeypatch):
    order = []
    for job in ("round_halves", "train_splats", "train_quantizers", "draw"):
        monkeypatch.setattr(compile_ahead._SmallModel, job, lambda _, job=job: (time.sleep(0.05), order.append(job)))

    with CompileAhead(PROFILES["compact"], CPU, "triton") as kernels:
        kernels.finish(lambda *_: None)

    assert order[0] == "round_halves"
    assert set(order[1:]) == {"train_splats", "train_quantizers", "draw"}


def test_the_coder_is_compiled_and_kept():
    code_small_gop()

    assert is_compiled()


def test_nothing_is_left_to_compile_in_a_fit(monkeypatch):
    """The kernels that the small calls compiled are those of training: no other signature comes up in a real step."""
    with CompileAhead(PROFILES["compact"], CPU, "numba") as kernels:
        kernels.start(FIELDS[:1])
        kernels.finish(lambda *_: None)
    compiled = []
    compile_one = numba.core.registry.CPUDispatcher.compile
    monkeypatch.setattr(
        numba.core.registry.CPUDispatcher,
        "compile",
        lambda kernel, signature: (compiled.append(kernel.__name__), compile_one(kernel, signature))[1],
    )
    small = compile_ahead._SmallModel(PROFILES["compact"], FIELDS[0], CPU, "numba")

    small.train_field()
    small.train_splats()
    small.train_quantizers()

    assert compiled == []


def test_a_job_that_fails_says_so_in_the_log_alone(monkeypatch, caplog):
    caplog.set_level("DEBUG", logger="stgvcodec")
    monkeypatch.setattr(compile_ahead._SmallModel, "draw", lambda _: 1 / 0)

    with CompileAhead(PROFILES["compact"], CPU, "numba") as kernels:
        kernels.finish(lambda *_: None)

    assert any("division by zero" in message for message in caplog.messages)


def test_waiting_is_reported_until_the_last_job_is_done(monkeypatch):
    monkeypatch.setattr(compile_ahead, "_FROM_DISK_SECONDS", 0.01)
    go_on = threading.Event()
    monkeypatch.setattr(compile_ahead._SmallModel, "draw", lambda _: go_on.wait(30))
    waits = []

    def on_wait(n_compiled: int, n_parts: int) -> None:
        waits.append((n_compiled, n_parts))
        if len(waits) == 3:
            go_on.set()

    with CompileAhead(PROFILES["compact"], CPU, "numba") as kernels:
        kernels.finish(on_wait)

    assert len(waits) >= 3
    # The two parts that train are there before the third, which draws.
    assert waits == sorted(waits)
    assert {n_parts for _, n_parts in waits} == {3}
    assert waits[-1][0] <= 2


def test_kernels_from_the_disk_are_not_said_to_be_compiled():
    small = compile_ahead._SmallModel(PROFILES["compact"], FIELDS[0], CPU, "numba")
    small.train_splats()
    small.train_quantizers()
    small.draw()

    with CompileAhead(PROFILES["compact"], CPU, "numba") as kernels:
        kernels.finish(lambda *_: pytest.fail("it says so"))


def test_the_reference_has_nothing_to_compile(monkeypatch):
    monkeypatch.setattr(compile_ahead._SmallModel, "draw", lambda _: pytest.fail("it was called"))

    with CompileAhead(PROFILES["compact"], CPU, "reference") as kernels:
        kernels.start(FIELDS)
        kernels.finish(lambda *_: pytest.fail("it waits"))
