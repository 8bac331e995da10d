"""A bounded run of the fuzzers; CONTRIBUTING.md has the commands for longer ones."""

from __future__ import annotations

import importlib.util
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import drawn
import hostile
import numpy as np
import pytest
import reach as reach_module
from gops import same_gop, stored
from reach import STAGES, reach

from stgvcodec.bitstream import StgvReader, pack_gop, unpack_gop
from stgvcodec.bitstream.container.chunks import ChunkType
from stgvcodec.bitstream.entropy.models import SymbolArray
from stgvcodec.bitstream.syntax.tables import TABLES
from stgvcodec.decoder.gop_renderer import GopRenderer

FOLDER = Path(__file__).parent
GOLDEN = FOLDER.parent / "golden"
STUB = """
import os, signal, time
STAGES = ("framing", "rendered")

def reach(data):
    if data in BAD:
        BAD[data]()
    return "rendered"

def fail():
    raise ZeroDivisionError("an error that is not promised")

import hostile
BAD = {hostile.cases(0, 2): lambda: os.kill(os.getpid(), signal.SIGSEGV), hostile.cases(0, 4): fail}
BAD[hostile.cases(0, 6)] = lambda: time.sleep(3600)
"""


def fuzzed(*arguments: object, script: Path = FOLDER / "run.py", **environment: str) -> tuple[int, dict[str, int], str]:
    """Run the fuzzer in a process of its own; return its exit code, its counts, and all that it said."""
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    counts = next((json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")), {})
    return done.returncode, counts, done.stdout


def test_a_case_has_a_number_and_is_the_same_every_time():
    first, again = ([hostile.cases(3, index) for index in range(20)] for _ in range(2))
    assert first == again
    assert len(set(first)) == 20


def test_files_are_taken_apart_and_joined_without_loss():
    for data in (*hostile.GOLDEN, *hostile.CORPUS):
        assert hostile.joined(hostile.parts_of(data)) == data


def test_items_of_every_table_are_found():
    """New tables are mutated without a change of the fuzzer."""
    found = Counter()
    for data in hostile.CORPUS:
        for part in hostile.parts_of(data):
            tables = hostile.tables_of(part)
            items = list(hostile.items_of(part.payload, tables))
            assert all(before.end == after.start for before, after in itertools.pairwise(items))
            assert all(items[-1].element == table[-1] for table in tables[-1:])
            found.update(name for name, table in TABLES.items() for item in items if item.element in table)
    own = {kind.name for kind in ChunkType} & set(TABLES)
    assert own | {"GOP_CHUNK", "GOP_HEADER", "STREAM_LENGTHS"} <= set(found)


def test_drawn_files_are_in_order():
    for seed in range(12):
        data = drawn.drawn_file(np.random.default_rng(seed))
        assert reach(data) in ("rendered", "too large", "budgets")


def test_drawn_payloads_hold_their_symbols_in_every_model():
    """What an encoder packs and what is drawn are the same GoP, and each model byte of bitstream_spec.md is drawn."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        symbols = drawn.drawn_gop(rng)
        payload = drawn.drawn_payload(symbols, rng)
        assert same_gop(unpack_gop(payload), stored(symbols))
        assert unpack_gop(payload).header == unpack_gop(pack_gop(symbols)).header
    rng, array = np.random.default_rng(0), SymbolArray("array", 5, 9)
    some, constant = np.array([3, 3, 8, 8, 3], np.uint8), np.full(5, 3, np.uint8)
    models = {drawn.drawn_model(array, symbols, rng).descriptor[0] for _ in range(9000) for symbols in (some, constant)}
    tables, narrow = ({1 | p << 2 for p in widths} for widths in (range(1, 15), range(16, 32)))
    assert models == {0} | tables | narrow | {mode | width << 2 for mode in (2, 3) for width in range(64)}


def test_cases_are_decoded_or_refused_and_reach_every_room():
    counts = Counter(reach(hostile.cases(0, index)) for index in range(60))
    assert set(counts) <= set(STAGES)
    assert {"framing", "header", "index", "head", "entropy", "rendered"} <= set(counts)


@pytest.mark.slow
def test_triton_renders_numbers_at_their_limits(triton_device):
    """On a GPU, or else by the interpreter, and then GoPs that are small enough for it."""
    n_rendered = 0
    for seed in range(60):
        symbols = drawn.drawn_gop(np.random.default_rng(seed))
        header = symbols.header
        if triton_device.type == "cpu" and (header.n_gaussians > 5 or header.mlp_width > 9 or header.n_frames > 3):
            continue
        with np.errstate(all="ignore"):
            gop = GopRenderer(pack_gop(symbols), width=16, height=9, device=triton_device, backend="triton")
            frames = gop.frames_tensor(range(header.n_frames)).cpu()
        assert frames.shape == (header.n_frames, 9, 16, 3)
        n_rendered += 1
    assert n_rendered > 10


@pytest.fixture
def stubbed(tmp_path: Path) -> Path:
    """The fuzzer with a target that crashes at case 2, fails at case 4, and sleeps at case 6."""
    folder = tmp_path / "tests" / "fuzz"
    folder.mkdir(parents=True)
    (folder.parent / "golden").symlink_to(GOLDEN)
    for name in ("run.py", "hostile.py", "drawn.py"):
        shutil.copy(FOLDER / name, folder)
    (folder / "reach.py").write_text(STUB)
    return folder / "run.py"


@pytest.mark.slow
def test_crashes_errors_and_hangs_are_found_and_named(stubbed: Path, tmp_path: Path):
    findings = tmp_path / "found"
    arguments = ("--cases", 10, "--findings", findings, "--max-seconds", 15)
    # The stub must be found before the target of this folder.
    code, counts, said = fuzzed(*arguments, script=stubbed, PYTHONPATH=str(FOLDER.parents[1]))
    assert (code, counts["findings"], counts["rendered"]) == (1, 3, 7), said
    for case, word in ((2, "the process ended with -11"), (4, "ZeroDivisionError"), (6, "took more than 15 s")):
        assert word in (findings / f"0-{case}.txt").read_text()
        assert (findings / f"0-{case}.stgv").read_bytes() == hostile.cases(0, case)


@pytest.mark.slow
def test_a_bounded_run_finds_nothing(tmp_path: Path):
    code, counts, said = fuzzed("--seconds", 45, "--seed", 11, "--findings", tmp_path)
    assert code == 0, said
    assert counts["cases"] > 100
    assert all(counts[stage] for stage in STAGES if stage not in ("ancillary", "too large")), said


@pytest.mark.slow
def test_kernels_that_check_their_bounds_find_nothing(tmp_path: Path):
    """Kernels index without checks; compiled so, they check, for which they need a cache of their own."""
    environment = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "STGV_THREADS": "1"}
    arguments = ("--cases", 200, "--seconds", 20, "--seed", 12, "--max-seconds", 60, "--findings", tmp_path / "found")
    code, counts, said = fuzzed(*arguments, **environment)
    assert code == 0, said
    assert counts["rendered"] > 0, said
    assert counts["entropy"] > 0, said


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed: .[fuzz]")
def test_a_run_that_is_guided_by_coverage_finds_nothing(tmp_path: Path):
    (tmp_path / "corpus").mkdir()
    arguments = (tmp_path / "corpus", "-max_total_time=20", f"-artifact_prefix={tmp_path}/")
    code, _, said = fuzzed(*arguments, script=FOLDER / "with_atheris.py")
    assert code == 0, said
    assert "Done" in said


def test_the_corpus_has_the_gops_of_the_golden_files_and_few_of_them_a_file():
    def payloads(files):
        for data in files:
            with StgvReader(io.BytesIO(data)) as reader:
                yield [reader.read_gop(i) for i in range(len(reader.gops))]

    corpus, golden = list(payloads(hostile.CORPUS)), list(payloads(hostile.GOLDEN))
    assert [gop for gops in corpus for gop in gops] == [gop for gops in golden for gop in gops]
    assert {len(gops) for gops in corpus} == {1, 2}
    assert len(golden) == len(list(GOLDEN.glob("*.stgv"))) > 0
    with StgvReader(GOLDEN / "all_modes.stgv") as reader:
        assert len({chunk.type for chunk in reader.chunks}) > 3


def test_a_gop_of_an_earlier_case_is_looked_at_once():
    data = hostile.CORPUS[0]
    reach_module.forget()
    stages = [reach(data) for _ in range(2)]
    assert stages == ["rendered"] * 2
    known = reach_module._decode.cache_info()
    assert (known.misses, known.hits) == (known.currsize, known.currsize)
