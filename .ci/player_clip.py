"""Make docs/bunny.stgv, which the player shows on the documentation site, of the shipped clip with its sound in stereo.

python .ci/player_clip.py

It takes two minutes on two cores.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import av

ROOT = Path(__file__).parent.parent
CLIP = ROOT / "stgvcodec" / "data" / "bunny.mp4"
RESULT = ROOT / "docs" / "bunny.stgv"
ENCODING = ["--resize", "320x180", "--preset", "fast", "--size-target", "250k", "--device", "cpu"]
BIT_RATE = 64_000


def write_in_stereo(source: Path, path: Path) -> None:
    """Copy the pictures, and code the sound of six channels as Opus of two, which every browser decodes."""
    with av.open(source) as read, av.open(path, "w") as written:
        pictures, sound = read.streams.video[0], read.streams.audio[0]
        copied, coded = written.add_stream_from_template(pictures), written.add_stream("libopus", rate=48_000)
        coded.layout, coded.bit_rate = "stereo", BIT_RATE
        resampler = av.AudioResampler(format="flt", layout="stereo", rate=48_000)
        for packet in read.demux(pictures, sound):
            if packet.stream is sound:
                mixed = [part for frame in packet.decode() for part in resampler.resample(frame)]
                written.mux([made for frame in mixed for made in coded.encode(frame)])
            elif packet.dts is not None:
                packet.stream = copied
                written.mux(packet)
        written.mux(coded.encode(None))


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        clip = Path(name) / "bunny.mkv"
        write_in_stereo(CLIP, clip)
        subprocess.run([sys.executable, "-m", "stgvcodec", "encode", clip, RESULT, *ENCODING, "-y"], check=True)


if __name__ == "__main__":
    main()
