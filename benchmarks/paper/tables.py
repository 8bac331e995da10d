"""The paper's tables as data: which recipe stands in which row, and which clip in which column."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.paper.clips import CLIPS, UVG
from benchmarks.paper.corruption import NOISES
from benchmarks.paper.interpolation import ENLARGEMENTS, HALVED
from benchmarks.paper.recipes import FILTERS, RECIPES, Recipe

# Measures: name in the results -> heading, factor and digits in a table.
MEASURES = {
    "psnr_db": ("PSNR, dB", 1.0, 2),
    "ms_ssim": ("MS-SSIM", 1.0, 4),
    "hidden_psnr_db": ("PSNR of hidden pixels, dB", 1.0, 2),
    "n_parameters": ("parameters, M", 1e-6, 2),
    "decode_fps": ("decoding, frames/s", 1.0, 0),
    "seconds": ("training, s a GoP", 1.0, 1),
}
# A clip has the sum of these of its GoPs; of decoding it has the mean speed, of all others the mean over frames.
SUMS = ("n_parameters",)
UVG_MEAN = "mean of UVG"


@dataclass(frozen=True)
class Row:
    """A row: its label, the recipe of ours, or None, and the name by which the paper's figures have it, if they do."""

    label: str
    recipe: str | None
    paper: str = ""


@dataclass(frozen=True)
class Column:
    """A column: a clip or `UVG_MEAN`, a measure, and what was done to the frames."""

    clip: str
    measure: str = "psnr_db"
    corruption: str = ""

    @property
    def clips(self) -> tuple[str, ...]:
        """The clips whose mean it has."""
        return UVG if self.clip == UVG_MEAN else (self.clip,)

    @property
    def name(self) -> str:
        return f"{self.clip}, {self.corruption}" if self.corruption in (*NOISES, *ENLARGEMENTS) else self.clip

    @property
    def title(self) -> str:
        return f"{self.name}: {MEASURES[self.measure][0]}"


@dataclass(frozen=True)
class Table:
    """A table or figure of the paper, `name` being its number there and on the command line.

    Rows of an ablation are compared over the GoPs that all of them have.
    """

    name: str
    title: str
    caption: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    is_ablation: bool = False

    def cells(self) -> list[tuple[Recipe, str]]:
        """Recipe and clip of all cells that are to be run, each once, clip by clip."""
        found = {
            (RECIPES[row.recipe].on(column.corruption), clip): None
            for column in self.columns
            for clip in column.clips
            for row in self.rows
            if row.recipe is not None
        }
        return list(found)


_OURS = Row("ours: preset `slow`, shapes by the field", "slow")
_AS_LARGE = Row("the same, as many parameters as `paper`", "slow, as many parameters")
_DAVIS = ("blackswan", "cows", "bmx-trees")
_FLOAT = (
    "Fits are in float, in GoPs of 10 frames (a rest of less than half a GoP joins the last), without quantisers; PSNR "
    "is the mean over frames of the RGB PSNR of float pictures, MS-SSIM is of 8-bit pictures."
)
_SIZES = (
    "DAVIS is at hand at 854x480 and enlarged to 1280x720, where the paper reduced its source; the sequences are three "
    "of the paper's six."
)
_V1 = (
    "D2GV is its field in this codec: sines and cosines of position and time into the same MLP, Gaussians random at "
    "the start, no phase on the key frame, whose steps go to joint training. D2GV itself first fits undeformed "
    "Gaussians to all frames at once."
)


def _across(clips: tuple[str, ...], *measures: str, corruption: str = "") -> tuple[Column, ...]:
    return tuple(Column(clip, measure, corruption) for clip in clips for measure in measures)


TABLES = {
    table.name: table
    for table in (
        Table(
            "I",
            "Tables I and VIII: Gaussian-based methods, clip by clip",
            f"{_FLOAT} {_SIZES} {_V1} 2DGS fits every frame by itself, with a tenth of a GoP's Gaussians and steps. "
            "The paper's times and speeds are of an RTX 3090.",
            (
                Row("2DGS, frame by frame", "2dgs", "2DGS"),
                Row("D2GV's field", "positional, no key frame", "D2GV"),
                Row("STGV: preset `paper`", "paper", "Ours"),
                _OURS,
                _AS_LARGE,
            ),
            _across(("bunny", *_DAVIS), "psnr_db", "ms_ssim"),
        ),
        Table(
            "II",
            "Table II: Bunny",
            f"{_FLOAT} Bunny is the clip that comes with the package, cut to 1280x640; 132 frames are 13 GoPs, which "
            f"is what makes the paper's 3.0 M parameters. {_V1} The paper's speeds are of an RTX 3090; its table has "
            "no training times. Times and speeds are of GoPs that had the device to themselves.",
            (
                *(Row(name, None, name) for name in ("SIREN", "NeRV", "E-NeRV", "HNeRV", "GaussianVideo", "GSVR")),
                Row("2DGS, frame by frame", "2dgs"),
                Row("D2GV's field", "positional, no key frame", "D2GV"),
                Row("STGV: preset `paper`", "paper", "STGV (Ours)"),
                Row("preset `paper`, shapes by the field", "shapes"),
                _OURS,
                _AS_LARGE,
            ),
            _across(("bunny",), "psnr_db", "ms_ssim", "n_parameters", "decode_fps", "seconds"),
        ),
        Table(
            "III",
            "Table III: inpainting",
            f"Five random 50x50 masks a frame (44x44 at 640 rows), the same for all rows, are left out of the loss, as "
            f"`encode --mask` leaves them out. PSNR is over whole frames, as the paper's baseline shows, and over the "
            f"masked pixels alone. Since decision 0027 ours completes them from other frames before the fit, which is "
            f"not so in rows at commit 70b6e0f or b71254b, nor ever in profile `paper`. {_SIZES} {_V1}",
            (
                Row("masked, black", "none", "Baseline"),
                Row("D2GV's field", "positional, no key frame", "D2GV"),
                Row("STGV: preset `paper`", "paper", "STGV"),
                _OURS,
            ),
            _across(
                ("blackswan", "cows", "bunny", "honeybee", "bosphorus", "beauty"),
                "psnr_db",
                "hidden_psnr_db",
                corruption="squares",
            ),
        ),
        Table(
            "IV",
            "Table IV: key frame and encodings",
            f"{_FLOAT} {_SIZES} The paper's second data set is UVG, of which it gives only the mean. Without the key "
            "frame (KFCI), Gaussians are random at the start and all steps are joint. The last six rows are not in the "
            "paper; preset `slow` has no phase on the key frame, and starts from its content.",
            (
                Row("V1: positional, no KFCI", "positional, no key frame", "V1"),
                Row("V2: positional, KFCI", "positional", "V2"),
                Row("V3: static hash, KFCI", "static", "V3"),
                Row("V4: dynamic hash, KFCI", "dynamic", "V4"),
                Row("ours: both, KFCI of the first frame", "paper", "Ours"),
                Row("both, no KFCI", "spatio-temporal, no key frame"),
                Row("both, KFCI of the middle frame", "middle"),
                Row("both, KFCI of the frame nearest to all", "auto"),
                Row("preset `slow`, key frame first", "slow, first"),
                Row("preset `slow`, key frame in the middle", "slow"),
                Row("preset `slow`, key frame nearest to all", "slow, auto"),
            ),
            _across(("bunny", *_DAVIS, UVG_MEAN), "psnr_db"),
            is_ablation=True,
        ),
        Table(
            "V",
            "Table V: encodings",
            f"{_FLOAT} {_SIZES} All rows have the key frame fitted first. Planes are a product of (x, y), (x, t) and "
            "(y, t) at three resolutions, with about as many parameters as both hash tables. The paper's second data "
            "set is UVG, of which it gives only the mean.",
            (
                Row("positional", "positional", "Positional"),
                Row("plane-based", "planes", "Plane-based"),
                Row("spatio-temporal", "paper", "Spatio-Temporal"),
            ),
            _across(("bunny", *_DAVIS, UVG_MEAN), "psnr_db"),
            is_ablation=True,
        ),
        Table(
            "VI",
            "Table VI: denoising",
            "White Gaussian noise (sigma 11.5), 0.6% of the pixels black, or black and white, which leave a typical "
            "clip at the PSNR of the paper's baseline; filters of 3x3 pixels, and a Gaussian of one pixel, by SciPy "
            f"(the paper: OpenCV). All is compared with the clean frames. The paper has HoneyBee alone. {_V1}",
            (
                Row("noisy", "none", "Baseline"),
                *(Row(name.capitalize(), name, name.capitalize()) for name in FILTERS),
                Row("D2GV's field", "positional, no key frame", "D2GV"),
                Row("STGV: preset `paper`", "paper", "Ours"),
                _OURS,
            ),
            tuple(Column(clip, corruption=noise) for clip in ("honeybee", "bunny") for noise in NOISES),
        ),
        Table(
            "VII",
            "Table VII: UVG, clip by clip",
            f"{_FLOAT} Every fourth frame, 1280x720. {_V1}",
            (
                Row("NeRV", None, "NeRV"),
                Row("E-NeRV", None, "E-NeRV"),
                Row("2DGS, frame by frame", "2dgs", "2DGS"),
                Row("D2GV's field", "positional, no key frame", "D2GV"),
                Row("STGV: preset `paper`", "paper", "Ours"),
                _OURS,
                _AS_LARGE,
            ),
            _across(UVG, "psnr_db", "ms_ssim"),
        ),
        Table(
            "7",
            "Fig. 7: spatial interpolation",
            "Pictures are made smaller by a bicubic filter, fitted with as many Gaussians for each pixel, and rendered "
            "at the full size, of which the PSNR is; beside them are frames that are rendered as they were fitted, "
            f"rounded to 8 bits and enlarged by a filter. {_SIZES} {_V1} The paper has pictures of HoneyBee and "
            "Beauty, and no figures.",
            (
                Row("frames of `slow`, bicubic", "slow, bicubic"),
                Row("frames of `slow`, Lanczos", "slow, Lanczos"),
                Row("D2GV's field", "positional, no key frame"),
                Row("STGV: preset `paper`", "paper"),
                _OURS,
            ),
            tuple(
                Column(clip, corruption=factor)
                for clip in ("bunny", *_DAVIS, "honeybee", "beauty")
                for factor in ENLARGEMENTS
            ),
        ),
        Table(
            "between",
            "Temporal interpolation",
            "Every second frame is fitted, in GoPs of 10, and those between are rendered as the decoder renders them, "
            "each Gaussian half-way between its two places; PSNR is of these alone. Repetition shows the frame before, "
            "blending its mean with the next. "
            f"{_SIZES} {_V1} The paper has no such table.",
            (
                Row("frames of `slow`, repeated", "slow, repetition"),
                Row("frames of `slow`, blended", "slow, blending"),
                Row("D2GV's field", "positional, no key frame"),
                Row("STGV: preset `paper`", "paper"),
                _OURS,
            ),
            tuple(Column(clip, corruption=HALVED) for clip in ("bunny", *_DAVIS)),
        ),
        Table(
            "9",
            "Fig. 9: number of Gaussians",
            f"{_FLOAT} The paper has no figures in print for its curves.",
            (
                Row("a quarter", "0.25 of the Gaussians"),
                Row("a half", "0.5 of the Gaussians"),
                Row("20 K (Bunny), 40 K (DAVIS)", "paper"),
                Row("twice", "2 of the Gaussians"),
            ),
            _across(("bunny", "blackswan"), "psnr_db", "n_parameters"),
            is_ablation=True,
        ),
    )
}
"""Tables by their number in the paper; Fig. 5 is `rate_distortion.py`'s."""

assert {clip for table in TABLES.values() for column in table.columns for clip in column.clips} <= CLIPS.keys()
