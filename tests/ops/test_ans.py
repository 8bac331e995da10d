from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from stgvcodec.errors import BackendUnavailableError
from stgvcodec.ops.ans import ArraySlot, CodedArray, StreamSlots, ans_decode, decode_stream_to

constriction = pytest.importorskip("constriction", reason="constriction has no wheel for this machine")
BACKENDS = ("numba", "reference")
TOTAL = 2**24


def run_of(n_symbols: int, frequencies, symbols=None) -> CodedArray:
    frequencies = np.asarray(frequencies, np.uint32)
    values = np.arange(len(frequencies)) if symbols is None else symbols
    return CodedArray(n_symbols, frequencies, np.asarray(values, np.uint8))


def random_run(rng: np.random.Generator, n_symbols: int, alphabet: int, concentration: float) -> CodedArray:
    weights = rng.gamma(concentration, 1, alphabet) + 1e-12
    frequencies = 1 + (weights / weights.sum() * (TOTAL - alphabet)).astype(np.int64)
    frequencies[rng.integers(alphabet)] += TOTAL - frequencies.sum()
    return run_of(n_symbols, frequencies, np.sort(rng.choice(256, alphabet, replace=False)))


def encoded(arrays, rng: np.random.Generator, *, by_frequency: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Words and the symbols in them; symbols follow the frequencies, or are uniform, so that rare ones occur."""
    coder = constriction.stream.stack.AnsCoder(np.array([77], np.uint32))
    symbols = []
    for array in reversed(arrays):
        p = array.frequencies / TOTAL if by_frequency else None
        indices = rng.choice(len(array.frequencies), array.n_symbols, p=p).astype(np.int32)
        model = constriction.stream.model.Categorical(array.frequencies.astype(np.float64) - 1, perfect=False)
        coder.encode_reverse(indices, model)
        symbols.append(array.symbols[indices])
    return coder.get_compressed(), np.concatenate([np.empty(0, np.uint8), *reversed(symbols)])


CASES = {
    "no run": [],
    "one symbol": [(1, 2, 1.0)],
    "an empty run among others": [(3, 5, 1.0), (0, 4, 1.0), (63, 7, 1.0)],
    "bits": [(999, 2, 0.2)],
    "bytes": [(2000, 256, 3.0)],
    "skewed bytes": [(2000, 256, 0.02)],
    "many arrays": [(1 + 37 * i % 200, 2 + 83 * i % 255, 10.0 ** (i % 4 - 2)) for i in range(23)],
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("by_frequency", [True, False], ids=["likely symbols", "any symbols"])
@pytest.mark.parametrize("shapes", CASES.values(), ids=CASES)
def test_decodes_what_constriction_encodes(shapes, by_frequency, backend):
    rng = np.random.default_rng(1)
    arrays = [random_run(rng, *shape) for shape in shapes]
    words, symbols = encoded(arrays, rng, by_frequency=by_frequency)

    decoded, rest = ans_decode(words, arrays, backend=backend)

    np.testing.assert_array_equal(decoded, symbols)
    assert decoded.dtype == np.uint8
    assert rest.dtype == np.uint32
    assert rest.tolist() == [77]


@pytest.mark.parametrize(
    "frequencies",
    [[1, TOTAL - 1], [TOTAL - 1, 1], [4095, 1, TOTAL - 4096], [4096, 4096, TOTAL - 8192], [TOTAL - 255, *[1] * 255]],
    ids=["first is rare", "last is rare", "rare within a bucket", "on a bucket's border", "256 in one bucket"],
)
def test_symbols_at_the_borders_of_buckets(frequencies):
    rng = np.random.default_rng(2)
    arrays = [run_of(500, frequencies)]
    words, symbols = encoded(arrays, rng, by_frequency=False)

    assert ans_decode(words, arrays, backend="numba").symbols.tolist() == symbols.tolist()


@pytest.mark.parametrize("n_words", [0, 1, 2, 3, 40])
def test_any_words_leave_what_constriction_leaves(n_words):
    """Damaged and cut streams have too few words, or too many."""
    rng = np.random.default_rng(n_words)
    for trial in range(200):
        arrays = [random_run(rng, int(rng.integers(1, 60)), int(rng.integers(2, 257)), 0.3) for _ in range(2)]
        words = rng.integers(0, 2**32, n_words, dtype=np.uint32)
        if trial % 3 == 0:
            words >>= 27  # many zeros
        words[-1:] |= 1
        kept = words.copy()
        fast, slow = (ans_decode(words, arrays, backend=backend) for backend in BACKENDS)
        assert fast.symbols.tolist() == slow.symbols.tolist()
        assert fast.rest.tolist() == slow.rest.tolist()
        assert words.tolist() == kept.tolist()


def test_any_symbols_of_a_dry_coder_end():
    run = run_of(1_000_000, [1, TOTAL - 1])

    decoded, rest = ans_decode(np.empty(0, np.uint32), [run])

    assert not decoded.any()
    assert rest.tolist() == []


GOOD = run_of(3, [TOTAL // 2, TOTAL // 2])
WORDS = np.array([1, 2], np.uint32)
REFUSED = {
    "signed words": (WORDS.astype(np.int32), GOOD, "words are int32"),
    "matrix of words": (WORDS[None], GOOD, r"words are uint32 \[1, 2\]"),
    "last word 0": (np.array([1, 0], np.uint32), GOOD, "last word is 0"),
    "negative count": (WORDS, GOOD._replace(n_symbols=-1), "has -1 symbols"),
    "int64 frequencies": (WORDS, GOOD._replace(frequencies=GOOD.frequencies.astype(np.int64)), "are int64"),
    "one frequency": (WORDS, run_of(3, [TOTAL]), r"uint32 \[1\]"),
    "257 frequencies": (WORDS, run_of(3, [1] * 257, np.zeros(257)), r"uint32 \[257\]"),
    "symbols missing": (WORDS, GOOD._replace(symbols=GOOD.symbols[:1]), r"uint8 \[1\], expected uint8 \[2\]"),
    "sum too small": (WORDS, run_of(3, [5, 6]), "frequencies of array 1 do not sum"),
    "sum too large": (WORDS, run_of(3, [TOTAL, 1]), "do not sum"),
    "sum wraps": (WORDS, run_of(3, [2**32 - 1, TOTAL + 1]), "do not sum"),
    "a zero": (WORDS, run_of(3, [TOTAL - 1, 0, 1]), "1 at least each"),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("words", "run", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(words, run, message, backend):
    with pytest.raises(ValueError, match=message):
        ans_decode(words, [GOOD, run], backend=backend)


def test_other_back_ends_are_refused():
    with pytest.raises(BackendUnavailableError, match="'triton' does not code ANS"):
        ans_decode(WORDS, [GOOD], backend="triton")


FAMILIES = np.ones((2, 64, 256), np.int64)
FAMILIES.flags.writeable = False
# Two arrays that are not coded: 3 symbols of 8 bits; 5 of 1 bit.
STREAM = np.frombuffer(bytes([0xAA, 4, 10, 20, 30, 4, 0b10110000, 0xAA]), np.uint8)


def test_a_stream_is_written_to_its_places():
    out = np.full(12, 99, np.uint8)
    arrays = StreamSlots([ArraySlot(3, 256, 1, 4, 15), ArraySlot(5, 2, 3)])

    assert decode_stream_to(out, STREAM, 1, 7, arrays, FAMILIES)

    # The second array overwrites what the first put at 5, and 10 - 15 wraps.
    assert out.tolist() == [99, 251, 99, 1, 0, 1, 1, 0, 99, 15, 99, 99]
    assert (arrays.n_bytes, arrays.n_symbols) == (10, 8)


@pytest.mark.parametrize(("start", "end"), [(1, 6), (1, 8), (2, 7), (7, 7), (0, 7)])
def test_a_stream_of_other_bytes_is_refused(start, end):
    arrays = StreamSlots([ArraySlot(3, 256, 0), ArraySlot(5, 2, 3)])
    out = np.full(10, 99, np.uint8)

    assert not decode_stream_to(out[:8], STREAM, start, end, arrays, FAMILIES)
    assert out[8:].tolist() == [99, 99]


def test_a_stream_does_not_leave_its_arrays():
    arrays = StreamSlots([ArraySlot(3, 256, 0, 4)])
    with pytest.raises(ValueError, match="fill 9 bytes, expected 8 at most"):
        decode_stream_to(np.empty(8, np.uint8), STREAM, 1, 5, arrays, FAMILIES)
    for start, end in ((-1, 5), (5, 4), (1, 9)):
        with pytest.raises(ValueError, match=f"bytes {start} to {end} of 8"):
            decode_stream_to(np.empty(9, np.uint8), STREAM, start, end, arrays, FAMILIES)
    for place in ((-1, 2, 0), (1, 0, 0), (1, 257, 0), (1, 2, -1), (1, 2, 0, 0), (1, 2, 0, 1, 256)):
        with pytest.raises(ValueError, match="array 1 is"):
            StreamSlots([ArraySlot(1, 2, 0), ArraySlot(*place)])


def test_neither_torch_nor_numba_until_something_is_decoded():
    """`stgvcodec info` imports these modules."""
    code = (
        "import sys; import stgvcodec.ops.ans, stgvcodec.bitstream;"
        "assert not {'torch', 'numba'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
