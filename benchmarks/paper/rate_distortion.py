"""Fig. 5: rate-distortion on Bunny by both profiles, from results of `stgvcodec rd`, or made here if there are none."""

from __future__ import annotations

from pathlib import Path

from benchmarks.paper.clips import CLIPS, Clip
from stgvcodec import EncodeConfig
from stgvcodec.evaluation.rd_plan import RdPlan
from stgvcodec.evaluation.rd_run import rate_distortion
from stgvcodec.evaluation.results import read_results

NAME = "5"
RATES = (0.05, 0.1, 0.2)
# Results that were made by full_clips.py are read before those that are made here.
_FILES = ("full_bunny.json", "paper_rd_bunny.json")
_CAPTION = """\
Rates are those of files on the disk, 8 x bytes / (width x height x frames), which a new process decoded. Profile
`paper` has the paper's quantisers, entropy-coded; the paper has no figures in print for its curve."""


def results_file(folder: Path) -> Path | None:
    return next((folder / name for name in _FILES if (folder / name).exists()), None)


def run(folder: Path, device: str, *, tiny: bool) -> None:
    """Make the results where there are none; points that a file has already are not made again."""
    clip = CLIPS["bunny"].tiny() if tiny else CLIPS["bunny"]
    if results_file(folder) == folder / _FILES[0]:
        return
    preset = "draft" if tiny else "medium"
    configs = tuple(
        EncodeConfig(preset=preset, profile=profile, gop=gop) for profile, gop in (("compact", None), ("paper", 10))
    )
    plan = RdPlan((4.0,) if tiny else RATES, configs, anchors=())
    rate_distortion(_path(clip), folder / _FILES[1], plan=plan, selection=clip.selection, device=device)


def section(folder: Path) -> str:
    lines = ["## Fig. 5: rate-distortion on Bunny\n"]
    path = results_file(folder)
    if path is None:
        command = f"```sh\npython -m benchmarks.paper --only {NAME} --device cuda\n```\n"
        return "\n".join([*lines, f"{_CAPTION}\n", "To fill what is not whole:\n", command])
    result = read_results(path)
    lines += [f"{_CAPTION}\nThe points are those of `{path.name}`.\n", "| series | bpp | PSNR, dB | MS-SSIM | device |"]
    lines.append("|---|---|---|---|---|")
    for series in result.series:
        if series.codec != "stgv":
            continue
        for point in series.points:
            psnr, ssim = (_number(point.psnr_db, 2), _number(point.ms_ssim, 4))
            preset = series.settings.get("preset")
            lines.append(f"| {series.label}, preset {preset} | {point.bpp:.4f} | {psnr} | {ssim} | {point.device} |")
    return "\n".join([*lines, ""])


def _path(clip: Clip) -> Path:
    path = clip.path(None)
    assert path is not None
    return path


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
