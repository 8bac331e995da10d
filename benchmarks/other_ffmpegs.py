"""Hold what `decode` writes against other releases of FFmpeg: the same frames, times and durations, or an error.

python benchmarks/other_ffmpegs.py PYTHON...

Each PYTHON is an interpreter whose PyAV, or whose OpenCV where it has no PyAV, is built with another FFmpeg. PyAV 12
has FFmpeg 6.1, 13 has 7.0, 14 and 15 have 7.1, 16 and 17 have 8.0; opencv-python-headless 4.8 has 5.1. OpenCV tells the
times of frames and not their durations, and its pixels differ from release to release. For example:

python -m venv six && six/bin/pip install 'av==12.3.0' numpy && python benchmarks/other_ffmpegs.py six/bin/python
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np

from stgvcodec.media import CodecOptions, ColorTags, open_writer

# Seconds per unit, timestamps, duration of the last frame, (width, height).
VIDEOS = {
    "even": (Fraction(1, 12800), [512 * i for i in range(30)], 0, (64, 48)),
    "ntsc": (Fraction(1001, 30000), list(range(30)), 0, (64, 48)),
    "late": (Fraction(1, 12800), [5001 + 512 * i for i in range(30)], 0, (64, 48)),
    "uneven": (Fraction(1, 1000), [0, 40, 85, 120, 160, 300, 301, 333, 400], 730, (64, 48)),
    "uneven-late-odd": (Fraction(1, 90000), [90007, 93010, 99016, 99017, 120000], 45000, (65, 47)),
    "one": (Fraction(1, 24), [0], 30, (64, 48)),
}
CODECS = {"h264": CodecOptions(), "hevc": CodecOptions("hevc"), "lossless": CodecOptions(crf=0, pixel_format="yuv444p")}

# Where a video begins late, FFmpeg up to 7 compares the last packet with a duration that does not count the beginning,
# and gives it none; the duration of the whole is right. libavcodec 62 is that of FFmpeg 8.
LAST_DURATION_IS_RIGHT = 62

READ_BY_PYAV = """
import hashlib, json, sys
import av
def read(path):
    with av.open(path) as container:
        stream = container.streams.video[0]
        packets = [p for p in container.demux(stream) if p.size]
        durations = [str(p.duration * p.time_base) for p in sorted(packets, key=lambda p: p.pts)]
    with av.open(path) as container:
        frames = [(str(f.pts * f.time_base), hashlib.md5(f.to_ndarray().tobytes()).hexdigest())
                  for f in container.decode(video=0)]
    return {"times": [t for t, _ in frames], "pixels": [m for _, m in frames], "durations": durations}
print(json.dumps([".".join(map(str, av.library_versions["libavcodec"])), [read(path) for path in sys.argv[1:]]]))
"""
READ_BY_OPENCV = """
import json, re, sys
import cv2
def read(path):
    video, times = cv2.VideoCapture(path, cv2.CAP_FFMPEG), []
    while video.read()[0]:
        times.append(video.get(cv2.CAP_PROP_POS_MSEC))
    return {"milliseconds": times}
version = re.search(r"avcodec: +YES \\\\(([\\\\d.]+)", cv2.getBuildInformation())[1]
print(json.dumps([version, [read(path) for path in sys.argv[1:]]]))
""".replace("\\\\", "\\")


def write(folder: Path) -> list[Path]:
    y, x = np.mgrid[0:64, 0:80]
    paths = []
    for name, (time_base, pts, last, (width, height)) in VIDEOS.items():
        for codec, options in CODECS.items():
            paths.append(folder / f"{name}-{codec}.mp4")
            with open_writer(
                paths[-1],
                width=width,
                height=height,
                frame_rate=Fraction(25),
                time_base=time_base,
                color=ColorTags(1, 1, 1),
                last_frame_duration=last,
                codec=options,
            ) as writer:
                for k, stamp in enumerate(pts):
                    rgb = np.stack([128 + 90 * np.sin((x + 3 * k) / 9 + c) * np.cos(y / 7 - c) for c in range(3)], -1)
                    writer.write(rgb[:height, :width].round().astype(np.uint8), stamp)
    return paths


def read(python: str, paths: list[Path]) -> tuple[str, list[dict[str, list[str]]]]:
    names = [str(path) for path in paths]
    has_pyav = subprocess.run([python, "-c", "import av"], capture_output=True).returncode == 0
    script = READ_BY_PYAV if has_pyav else READ_BY_OPENCV
    # The interpreter must not find this one's packages.
    done = subprocess.run([python, "-I", "-c", script, *names], capture_output=True, text=True, check=True)
    version, found = json.loads(done.stdout)
    return version, found


def expected(name: str) -> tuple[list[Fraction], list[Fraction]]:
    """Times and durations, seconds."""
    time_base, pts, last, _ = VIDEOS[name.rsplit("-", 1)[0]]
    ends = [*pts[1:], pts[-1] + (last or round(1 / (25 * time_base)))]
    times = [stamp * time_base for stamp in pts]
    return times, [end * time_base - time for time, end in zip(times, ends, strict=True)]


def differences(stem: str, version: str, mine: dict[str, list[str]], found: dict[str, list[str]]) -> list[str]:
    """Say how a file that was read differs from what was written."""
    times, durations = expected(stem)
    if "milliseconds" in found:
        read_times = [float(each) for each in found["milliseconds"]]
        # OpenCV counts from the first frame.
        errors = [abs(a - 1000 * (b - times[0])) for a, b in zip(read_times, times, strict=False)]
        return [f"times {read_times}"] if len(read_times) != len(times) or max(errors) > 0.5 else []
    read_durations = [Fraction(each) for each in found["durations"]]
    if times[0] and int(version.split(".")[0]) < LAST_DURATION_IS_RIGHT:
        read_durations[-1:] = durations[-1:]
    wrong = []
    if [Fraction(each) for each in found["times"]] != times:
        wrong.append(f"times {found['times']}")
    if read_durations != durations:
        wrong.append(f"durations {found['durations']}, expected {list(map(str, durations))}")
    if found["pixels"] != mine["pixels"]:
        wrong.append("other pixels")
    return wrong


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = write(Path(folder))
        _, ours = read(sys.executable, paths)
        n_wrong = 0
        for python in [sys.executable, *sys.argv[1:]]:
            version, theirs = read(python, paths)
            wrong = [
                f"{path.stem}: {what}"
                for path, mine, found in zip(paths, ours, theirs, strict=True)
                for what in differences(path.stem, version, mine, found)
            ]
            print(f"libavcodec {version}: {len(paths)} files, {len(wrong)} differences", *wrong, sep="\n  ")
            n_wrong += len(wrong)
    sys.exit(n_wrong > 0)


if __name__ == "__main__":
    main()
