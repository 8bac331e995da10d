"""The encoder of ANS; none of these tests but one needs constriction, which not every machine can have."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from spec_tables import cells_after

from stgvcodec.errors import BackendUnavailableError
from stgvcodec.ops import ans
from stgvcodec.ops.ans import CodedArray, EncodedArray, ans_decode, ans_encode, integers, numba_kernel

TOTAL = 2**24
ENCODERS = {"numba": numba_kernel.ans_encode, "integers": integers.ans_encode}
DECODERS = {"numba": numba_kernel.ans_decode, "integers": integers.ans_decode}
CASES = {
    "no array": [],
    "one symbol": [(1, 2, 1.0)],
    "an empty array among others": [(3, 5, 1.0), (0, 4, 1.0), (63, 7, 1.0)],
    "bits": [(999, 2, 0.2)],
    "bytes": [(2000, 256, 3.0)],
    "skewed bytes": [(2000, 256, 0.02)],
    "many arrays": [(1 + 37 * i % 200, 2 + 83 * i % 255, 10.0 ** (i % 4 - 2)) for i in range(23)],
}


def array_of(indices, frequencies) -> EncodedArray:
    return EncodedArray(np.asarray(indices, np.uint8), np.asarray(frequencies, np.uint32))


def random_array(rng: np.random.Generator, n_symbols: int, alphabet: int, concentration: float) -> EncodedArray:
    weights = rng.gamma(concentration, 1, alphabet) + 1e-12
    frequencies = 1 + (weights / weights.sum() * (TOTAL - alphabet)).astype(np.int64)
    frequencies[rng.integers(alphabet)] += TOTAL - frequencies.sum()
    # Every other array has its rare symbols as often as the others.
    p = frequencies / TOTAL if rng.integers(2) else None
    return array_of(rng.choice(alphabet, n_symbols, p=p), frequencies)


def decodable(array: EncodedArray) -> CodedArray:
    return CodedArray(len(array.indices), array.frequencies, np.arange(len(array.frequencies), dtype=np.uint8))


@pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS)
@pytest.mark.parametrize("row", cells_after("ANS test values:"), ids=lambda row: row[2])
def test_writes_the_words_of_the_spec(row, encode):
    frequencies, symbols = ([int(value) for value in cell.split()] for cell in row[:2])
    words = [int(word, 16) for word in row[2].split()]
    array = array_of(symbols, frequencies)
    ((_, first_state),) = [ans_decode(np.array(words, np.uint32), [decodable(array)])]

    assert encode([array], int(first_state[0])).tolist() == words


@pytest.mark.parametrize("first_state", [1, 77, 2**16, 2**32 - 1])
@pytest.mark.parametrize("shapes", CASES.values(), ids=CASES)
def test_back_ends_write_the_same_words_and_read_them(shapes, first_state):
    rng = np.random.default_rng(len(shapes))
    arrays = [random_array(rng, *shape) for shape in shapes]
    symbols = np.concatenate([np.empty(0, np.uint8), *(array.indices for array in arrays)])

    written = {name: encode(arrays, first_state) for name, encode in ENCODERS.items()}

    assert written["numba"].tolist() == written["integers"].tolist()
    assert {words.dtype for words in written.values()} == {np.dtype(np.uint32)}
    for decode in DECODERS.values():
        decoded, rest = decode(written["numba"], [decodable(array) for array in arrays])
        assert decoded.tolist() == symbols.tolist()
        assert rest.tolist() == [first_state]


@pytest.mark.parametrize("shapes", CASES.values(), ids=CASES)
def test_constriction_writes_these_words(shapes):
    reference = pytest.importorskip("stgvcodec.ops.ans.reference", exc_type=ModuleNotFoundError)
    rng = np.random.default_rng(11)
    arrays = [random_array(rng, *shape) for shape in shapes]

    words = reference.ans_encode(arrays, 4321)

    assert words.dtype == np.uint32
    assert words.tolist() == numba_kernel.ans_encode(arrays, 4321).tolist()


@pytest.mark.parametrize("n_words", [0, 1, 2, 3, 40])
def test_integers_read_any_words_as_numba_does(n_words):
    rng = np.random.default_rng(n_words)
    for _ in range(50):
        arrays = [decodable(random_array(rng, int(rng.integers(1, 60)), int(rng.integers(2, 257)), 0.3))]
        words = rng.integers(0, 2**32, n_words, dtype=np.uint32)
        words[-1:] |= 1
        slow, fast = integers.ans_decode(words, arrays), numba_kernel.ans_decode(words, arrays)
        assert slow.symbols.tolist() == fast.symbols.tolist()
        assert slow.rest.tolist() == fast.rest.tolist()


def test_integers_refuse_frequencies_that_are_no_distribution():
    for frequencies in ([5, 6], [TOTAL, 1], [TOTAL - 1, 0, 1]):
        with pytest.raises(ValueError, match="frequencies of array 0 do not sum"):
            integers.ans_decode(np.empty(0, np.uint32), [decodable(array_of([0], frequencies))])


GOOD = array_of([0, 1, 1], [TOTAL // 2, TOTAL // 2])
REFUSED = {
    "int64 indices": (GOOD._replace(indices=np.zeros(3, np.int64)), "indices of array 1 are int64"),
    "matrix of indices": (GOOD._replace(indices=np.zeros((3, 1), np.uint8)), r"uint8 \[3, 1\], expected uint8 \[n\]"),
    "int64 frequencies": (GOOD._replace(frequencies=GOOD.frequencies.astype(np.int64)), "are int64"),
    "one frequency": (array_of([0], [TOTAL]), r"uint32 \[1\]"),
    "sum too small": (array_of([0], [5, 6]), "frequencies of array 1 do not sum"),
    "a zero": (array_of([0], [TOTAL - 1, 0, 1]), "1 at least each"),
    "index without a frequency": (array_of([0, 2], GOOD.frequencies), "array 1 has index 2, expected indices below 2"),
}


@pytest.mark.parametrize(("array", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(array, message):
    with pytest.raises(ValueError, match=message):
        ans_encode([GOOD, array], 1)


@pytest.mark.parametrize("first_state", [0, 2**32])
def test_other_first_states_are_refused(first_state):
    with pytest.raises(ValueError, match=f"first state is {first_state}, expected 1 to"):
        ans_encode([GOOD], first_state)


def test_other_back_ends_are_refused():
    with pytest.raises(BackendUnavailableError, match="'triton' does not code ANS"):
        ans_encode([GOOD], 1, backend="triton")


def test_without_constriction_both_back_ends_are_there(monkeypatch):
    monkeypatch.setattr(ans, "has_constriction", lambda: False)
    monkeypatch.setitem(sys.modules, "constriction", None)
    monkeypatch.delitem(sys.modules, "stgvcodec.ops.ans.reference", raising=False)

    written = [ans_encode([GOOD], 9, backend=backend).tolist() for backend in ("auto", "numba", "reference")]

    assert written == written[:1] * 3
    assert ans_decode(np.array(written[0], np.uint32), [decodable(GOOD)], backend="reference").rest.tolist() == [9]
