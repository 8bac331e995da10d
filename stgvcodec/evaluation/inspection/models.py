"""Histograms of a GoP's symbols, with the models by which they are coded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.payload.anatomy import ModelledSymbols, PayloadAnatomy, StreamAnatomy
from stgvcodec.evaluation.inspection.packing import rounded


def stream_models(anatomy: PayloadAnatomy) -> list[dict[str, object]]:
    """Describe the streams of a GoP: where their bits go, and the histogram and the model of each kind of symbol.

    Args:
        anatomy: The GoP's payload.

    Returns:
        A stream each, in file order. Bits are those of `ModelledSymbols`; counts and expected counts begin with the
        symbol `low`.
    """
    return [_stream(stream, anatomy) for stream in anatomy.streams.values()]


def _stream(stream: StreamAnatomy, anatomy: PayloadAnatomy) -> dict[str, object]:
    groups: dict[str, list[ModelledSymbols]] = {}
    for array in stream.arrays:
        groups.setdefault(array.name, []).append(array)
    bits = float(anatomy.gaussian_bits["low bits"].sum()) if stream.name == "point_bits" else stream.symbol_bits
    models = sum(array.description_bits for array in stream.arrays) + 8 * stream.threshold_bytes
    return {
        "name": stream.name,
        "bytes": stream.n_bytes,
        "symbolBits": rounded(bits, 2),
        "modelBits": rounded(models, 2),
        "entropyBits": rounded(sum(array.entropy_bits for array in stream.arrays), 2),
        "arrays": [_group(name, arrays) for name, arrays in groups.items()],
    }


def _group(name: str, arrays: Sequence[ModelledSymbols]) -> dict[str, object]:
    """Describe symbols of one name; where they have classes, together and class by class."""
    alphabet = len(arrays[0].probabilities)
    counts = np.zeros(alphabet)
    expected = np.zeros(alphabet)
    classes = []
    for array in arrays:
        own = np.bincount(array.symbols, minlength=alphabet).astype(np.float64)
        by_model = len(array.symbols) * array.probabilities
        counts += own
        expected += by_model
        if len(arrays) > 1 and len(array.symbols):
            contexts = list(array.contexts or ())
            classes.append({"contexts": contexts, "model": array.described, **_figures([array], own, by_model)})
    model = arrays[0].described if len(arrays) == 1 else f"{len(arrays)} classes, each with its model"
    return {
        "name": name,
        "model": model,
        "alphabet": alphabet,
        **_figures(arrays, counts, expected),
        "classes": classes,
    }


def _figures(
    arrays: Sequence[ModelledSymbols], counts: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]
) -> dict[str, object]:
    # Symbols of which less than half a one is expected, and none is there, are not shown.
    shown = np.flatnonzero((counts > 0) | (expected >= 0.5))
    low, end = (int(shown[0]), int(shown[-1]) + 1) if len(shown) else (0, 1)
    return {
        "n": int(counts.sum()),
        "bits": rounded(sum(float(array.bits.sum()) for array in arrays), 2),
        "modelBits": rounded(sum(array.description_bits for array in arrays), 2),
        "entropyBits": rounded(_entropy_bits(counts), 2),
        "low": low,
        "counts": counts[low:end].astype(int).tolist(),
        "expected": np.round(expected[low:end], 2).tolist(),
    }


def _entropy_bits(counts: npt.NDArray[np.float64]) -> float:
    there = counts[counts > 0]
    return float(there @ (np.log2(there.sum()) - np.log2(there))) if len(there) else 0.0
