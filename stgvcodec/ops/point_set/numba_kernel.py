"""The decoder of points from gaps in numba. It makes one pass and takes bits from a 64-bit window."""

# Integers here have a width and a sign, of which annotations say nothing, and numba's stubs do not know all options.
# mypy: disable-error-code="assignment,no-any-return,call-overload"

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stgvcodec.ops.compiled import njit

_U = np.uint64
_ONE = _U(1)
_TWO = _U(2)
_END = _U(1 << 32)
_MAX_BUCKET = np.uint8(4 * 32)
# These shifts and masks bring every second bit of a Morton code together.
_STEPS = (
    (_U(1), _U(0x33333333)),
    (_U(2), _U(0x0F0F0F0F)),
    (_U(4), _U(0x00FF00FF)),
    (_U(8), _U(0x0000FFFF)),
)


@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def _even_bits(code: np.uint64) -> np.uint64:
    code &= _U(0x55555555)
    code = (code | (code >> _STEPS[0][0])) & _STEPS[0][1]
    code = (code | (code >> _STEPS[1][0])) & _STEPS[1][1]
    code = (code | (code >> _STEPS[2][0])) & _STEPS[2][1]
    return (code | (code >> _STEPS[3][0])) & _STEPS[3][1]


@njit(nogil=True, cache=True, error_model="numpy")
def decode_points(
    out: npt.NDArray[np.uint16],
    buckets: npt.NDArray[np.uint8],
    data: npt.NDArray[np.uint8],
    start: int,
    end: int,
) -> bool:
    """Numba implementation of `stgvcodec.ops.point_set.decode_points_to`."""
    position = _U(start)
    stop = _U(end)
    code, held, n_held = _U(0), _U(0), _U(0)
    for i in range(len(buckets)):
        bucket = buckets[i]
        exponent, top = _U(bucket >> 2), _U(bucket & 3)
        if bucket > _MAX_BUCKET:
            return False
        if exponent >= _TWO:
            n_low = exponent - _TWO
            while n_held < n_low:
                if position >= stop:
                    return False
                held = (held << _U(8)) | _U(data[position])
                position += _ONE
                n_held += _U(8)
            n_held -= n_low
            low = (held >> n_held) & ((_ONE << n_low) - _ONE)
            value = ((_U(4) | top) << n_low) | low
        else:
            # `top` is left-aligned: of the two bits below the leading one, only `exponent` are there.
            if top & (_U(3) >> exponent):
                return False
            value = (_U(4) | top) >> (_TWO - exponent)
        code += value - _ONE
        if code >= _END:
            return False
        out[i, 0] = _even_bits(code)
        out[i, 1] = _even_bits(code >> _ONE)
    return position == stop and held & ((_ONE << n_held) - _ONE) == _U(0)
