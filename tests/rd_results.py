"""Results of rate-distortion runs made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stgvcodec.report.rd_points import RdPoint, RdResult, RdSeries, RdSource, Setting


def point(bpp: float, psnr_db: float | None, ms_ssim: float | None = None, **changes: object) -> RdPoint:
    values: dict[str, object] = {
        "requested_bpp": bpp,
        "bytes": max(1, round(bpp * 1000)),
        "bpp": bpp,
        "psnr_db": psnr_db,
        "ms_ssim": ms_ssim,
        "vmaf": None,
        "encode_seconds": 1.5,
        "decode_seconds": 0.25,
        "device": "cpu",
        "file": "rd.json.d/a.stgv",
        "parameters": {"crf": 23.5},
    }
    return RdPoint(**{**values, **changes})  # type: ignore[arg-type]


def series(
    codec: str, label: str, curve: Sequence[tuple[float, ...]], settings: Mapping[str, Setting] | None = None
) -> RdSeries:
    return RdSeries(codec, label, settings or {"preset": "fast"}, tuple(point(*values) for values in curve))


def result(*curves: RdSeries, name: str = "waves.mp4", note: str = "", ceiling: float | None = 44.5) -> RdResult:
    source = RdSource(name, "0" * 64, 320, 180, 16, "24", {"frames": "0:16"}, ceiling, 0.99)
    return RdResult(source, "stgvcodec 0", note, {"bpp": "8 x bytes"}, curves)


OURS = series("stgv", "stgv paper", [(0.1, 30.0, 0.95), (0.2, 33.0, 0.97), (0.4, 35.0, 0.98)])
X264 = series("x264", "x264 medium", [(0.02, 28.0, 0.93), (0.1, 34.0, 0.98), (0.4, 39.0, 0.99)])
