"""Random access: any frame, in any order, straight to a tensor on the device.

python examples/random_access.py out.stgv
"""

from __future__ import annotations

import random
import sys
import time

import stgvcodec


def main() -> None:
    with stgvcodec.VideoDecoder(sys.argv[1]) as decoder:
        print(f"{len(decoder)} frames, {decoder.metadata.width}x{decoder.metadata.height}, on {decoder.device}")
        order = random.Random(0).sample(range(len(decoder)), k=min(8, len(decoder)))
        for index in order:
            started = time.perf_counter()
            frame = decoder.get_frame_at(index)
            seconds = time.perf_counter() - started
            print(f"frame {index} at {frame.pts_seconds:.3f} s: {list(frame.data.shape)}, {seconds * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
