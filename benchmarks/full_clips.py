"""The final table: whole clips at full size, both profiles beside classical codecs, in two places and in pieces.

    python benchmarks/full_clips.py encode --davis DAVIS --out FOLDER [--device cuda] [--tar FOLDER] [--seconds 540]
    python benchmarks/full_clips.py measure --davis DAVIS --out FOLDER

`encode` makes the `.stgv` files, with `stgvcodec rd`'s names and records, where there is a GPU. It begins nothing that
is not likely to be done within `--seconds`, leaves files that are there alone, and packs those of each clip and profile
into one tar, since what comes back from a lent machine is counted in files. Unpacked into FOLDER elsewhere, `measure`
decodes them, runs the anchors at the same rates and writes `full_<clip>.json`, which `stgvcodec rd --plot-only` draws.
"""

from __future__ import annotations

import argparse
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gop_fit import CLIP
from rate_ablation import SEQUENCES

from stgvcodec import EncodeConfig, Selection
from stgvcodec.encoder.presets import PRESETS
from stgvcodec.evaluation.rd_plan import RdPlan
from stgvcodec.evaluation.rd_run import rate_distortion
from stgvcodec.media.anchors import ANCHORS

# By profile: those of profile paper reach as far up in quality as those of compact.
RATES = {"compact": (0.025, 0.05, 0.1, 0.2), "paper": (0.05, 0.1, 0.2, 0.4)}
CLIPS = ("bunny", *SEQUENCES)
BUNNY_NOTE = "Bunny is itself a decoded 0.052 bpp H.264 stream, which favours classical codecs on it."
ANCHOR_RATES = (0.0125, 0.025, 0.05, 0.1, 0.2, 0.4)


class Work(NamedTuple):
    clip: str
    source: Path
    selection: Selection
    config: EncodeConfig


def all_work(options: argparse.Namespace) -> Iterator[Work]:
    """Compact first, for all clips; profile paper has GoPs of 10, as in the paper."""
    for profile, gop in (("compact", None), ("paper", 10)):
        if profile in options.profiles:
            for clip in options.clips:
                crop = "1280x640" if clip == "bunny" else None
                selection = Selection.parse(frames=options.frames, crop=crop, resize=options.resize)
                source = CLIP if clip == "bunny" else options.davis / clip
                yield Work(clip, source, selection, EncodeConfig(preset=options.preset, profile=profile, gop=gop))


def encode(options: argparse.Namespace) -> None:
    started = time.perf_counter()
    longest = 0.0
    options.out.mkdir(parents=True, exist_ok=True)
    for work in all_work(options):
        results = options.out / f"full_{work.clip}.json"
        profile = work.config.profile
        for rate in RATES[profile]:
            begun = time.perf_counter()
            if begun - started + 1.5 * longest > options.seconds:
                print(f"{work.clip} {profile} {rate:g} bpp: left for another call")
                continue
            plan = RdPlan((rate,), (work.config,), anchors=(), encode_only=True)
            rate_distortion(work.source, results, plan=plan, selection=work.selection, device=options.device)
            taken = time.perf_counter() - begun
            longest = max(longest, taken)
            print(f"{work.clip} {profile} {rate:g} bpp: {taken:.1f} s", flush=True)
        if options.tar is not None:
            with tarfile.open(options.tar / f"full_{work.clip}_{profile}.tar", "w") as tar:
                for path in sorted(options.out.glob(f"full_{work.clip}.json.d/stgv-{profile}-*")):
                    tar.add(path, path.relative_to(options.out))


def measure(options: argparse.Namespace) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    for work in all_work(options):
        results = options.out / f"full_{work.clip}.json"
        note = BUNNY_NOTE if work.clip == "bunny" else None
        rates = tuple(rate for rate in RATES[work.config.profile] if _is_made(results, work.config.profile, rate))
        for plan in (
            *([RdPlan(rates, (work.config,), anchors=())] if rates else []),
            RdPlan(ANCHOR_RATES, configs=(), anchors=tuple(options.anchors)),
        ):
            rate_distortion(work.source, results, plan=plan, selection=work.selection, device="cpu", note=note)
        print(results, work.config.profile, rates, flush=True)


def _is_made(results: Path, profile: str, rate: float) -> bool:
    """Whether the other place left this file: nothing is encoded here."""
    return any(Path(f"{results}.d").glob(f"stgv-{profile}-*-{rate:g}.stgv"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run in (("encode", encode), ("measure", measure)):
        command = commands.add_parser(name)
        command.add_argument("--davis", type=Path, required=True, help="folder with blackswan, cows and bmx-trees")
        command.add_argument("--out", type=Path, required=True, help="folder for JSON files and encoded files")
        command.add_argument("--preset", default="fast", choices=tuple(PRESETS))
        command.add_argument("--profiles", nargs="+", choices=tuple(RATES), default=list(RATES))
        command.add_argument("--clips", nargs="+", choices=CLIPS, default=list(CLIPS))
        command.add_argument("--frames", help="only these, to try it out")
        command.add_argument("--resize", help="smaller, to try it out")
        command.set_defaults(run=run)
        if name == "encode":
            command.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
            command.add_argument("--tar", type=Path, help="folder for the tars")
            command.add_argument("--seconds", type=float, default=540.0, help="time to be done in (default: 540)")
        else:
            command.add_argument("--anchors", nargs="+", choices=tuple(ANCHORS), default=list(ANCHORS))
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
