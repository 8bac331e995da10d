"""Calls that a user of torchcodec makes, on the decoder that is named; what they give goes to a JSON file.

Decoders are not pickled or copied here: copies of torchcodec's, in 0.13, end the process.

python torchcodec_calls.py stgvcodec|torchcodec VIDEO RESULTS
"""

from __future__ import annotations

import importlib
import json
import random
import sys
from pathlib import Path

import numpy as np
import torch
from torchcodec.samplers import (
    clips_at_random_indices,
    clips_at_random_timestamps,
    clips_at_regular_indices,
    clips_at_regular_timestamps,
)

from stgvcodec import EncodeConfig, encode

BUILT_IN = (FileNotFoundError, IndexError, TypeError, ValueError)
METADATA = (
    "average_fps",
    "begin_stream_seconds",
    "duration_seconds",
    "end_stream_seconds",
    "height",
    "num_frames",
    "pixel_aspect_ratio",
    "stream_index",
    "width",
)


def told(value):
    """A value as text, the same for both packages where it means the same."""
    if isinstance(value, torch.Tensor):
        return f"{value.dtype} {list(value.shape)}"
    if isinstance(value, float):
        return f"{value:.6f}"
    if hasattr(value, "pts_seconds"):
        pts, durations = (torch.as_tensor(each).tolist() for each in (value.pts_seconds, value.duration_seconds))
        return f"{type(value).__name__} {told(value.data)} at {told(pts)} for {told(durations)}"
    if isinstance(value, list | tuple):
        return [told(each) for each in value]
    return repr(value)


def calls(decoder, open_video, path):
    """Name of each call -> the call."""
    data = Path(path).read_bytes()
    end = decoder.metadata.end_stream_seconds
    begin = decoder.metadata.begin_stream_seconds
    middle = (begin + end) / 2

    def seeded(sampler, **options):
        random.seed(0)
        torch.manual_seed(0)
        return sampler(decoder, num_frames_per_clip=3, **options)

    return {
        "from text": lambda: len(open_video(str(path))),
        "from bytes": lambda: len(open_video(data)),
        "from a tensor": lambda: len(open_video(torch.frombuffer(bytearray(data), dtype=torch.uint8))),
        "from a file": lambda: len(open_video(open(path, "rb"))),  # noqa: PTH123
        "other arguments": lambda: len(
            open_video(path, stream_index=0, num_ffmpeg_threads=2, device="cpu", seek_mode="approximate")
        ),
        "no device": lambda: len(open_video(path, device=None)),
        "a device": lambda: len(open_video(path, device=torch.device("cpu"))),
        "a wrong order": lambda: open_video(path, dimension_order="CHW"),
        "a wrong seek mode": lambda: open_video(path, seek_mode="sloppy"),
        "channels last": lambda: open_video(path, dimension_order="NHWC").get_frames_at([0, 2]),
        "len": lambda: len(decoder),
        "iterated": lambda: [frame for frame in decoder],  # noqa: C416
        "first": lambda: decoder[0],
        "last": lambda: decoder[-1],
        "int64": lambda: decoder[np.int64(3)],
        "behind the last": lambda: decoder[len(decoder)],
        "before the first": lambda: decoder[-len(decoder) - 1],
        "a float": lambda: decoder[2.0],
        "a text": lambda: decoder["a"],
        "a tuple": lambda: decoder[0, 1],
        "slice": lambda: decoder[1:6:2],
        "slice from the end": lambda: decoder[-3:],
        "slice beyond the end": lambda: decoder[5:100],
        "get_frame_at": lambda: decoder.get_frame_at(3),
        "get_frame_at from the end": lambda: decoder.get_frame_at(-1),
        "get_frame_at beyond": lambda: decoder.get_frame_at(99),
        "an unpacked frame": lambda: [*decoder.get_frame_at(2)],
        "get_frames_at list": lambda: decoder.get_frames_at([3, 3, 1, -1]),
        "get_frames_at tensor": lambda: decoder.get_frames_at(torch.tensor([3, 1])),
        "get_frames_at array": lambda: decoder.get_frames_at(np.array([3, 1])),
        "get_frames_at range": lambda: decoder.get_frames_at(range(3)),
        "get_frames_at indices=": lambda: decoder.get_frames_at(indices=[1]),
        "get_frames_at beyond": lambda: decoder.get_frames_at([0, 99]),
        "get_frames_in_range": lambda: decoder.get_frames_in_range(2, 6),
        "get_frames_in_range step": lambda: decoder.get_frames_in_range(start=1, stop=6, step=2),
        "get_frame_played_at": lambda: decoder.get_frame_played_at(middle),
        "get_frame_played_at begin": lambda: decoder.get_frame_played_at(seconds=begin),
        "get_frame_played_at end": lambda: decoder.get_frame_played_at(end),
        "get_frame_played_at before": lambda: decoder.get_frame_played_at(begin - 1),
        "get_frame_played_at nan": lambda: decoder.get_frame_played_at(float("nan")),
        "get_frames_played_at": lambda: decoder.get_frames_played_at([middle, begin]),
        "get_frames_played_at tensor": lambda: decoder.get_frames_played_at(
            torch.tensor([middle, begin], dtype=torch.float64)
        ),
        "get_frames_played_in_range": lambda: decoder.get_frames_played_in_range(begin, middle),
        "get_frames_played_in_range all": lambda: decoder.get_frames_played_in_range(begin, end),
        "get_frames_played_in_range fps": lambda: decoder.get_frames_played_in_range(begin, middle, fps=30),
        "get_frames_played_in_range backwards": lambda: decoder.get_frames_played_in_range(middle, begin),
        "get_frames_played_in_range before": lambda: decoder.get_frames_played_in_range(begin - 1, end),
        "get_frames_played_in_range behind": lambda: decoder.get_frames_played_in_range(begin, end + 1),
        "get_all_frames": lambda: decoder.get_all_frames(),
        "get_all_frames fps": lambda: decoder.get_all_frames(fps=20),
        "length of a batch": lambda: len(decoder.get_all_frames()),
        "part of a batch": lambda: decoder.get_all_frames()[1:3],
        "stream_index": lambda: decoder.stream_index,
        **{name: lambda name=name: float(getattr(decoder.metadata, name)) for name in METADATA},
        "encoded again": lambda: (
            encode(
                decoder, Path(path).with_suffix(".again.stgv"), config=EncodeConfig(preset="draft", n_gaussians=9)
            ).n_frames
        ),
        "clips_at_random_indices": lambda: seeded(clips_at_random_indices, num_clips=2),
        "clips_at_regular_indices": lambda: seeded(clips_at_regular_indices, num_clips=2),
        "clips_at_random_timestamps": lambda: seeded(
            clips_at_random_timestamps, num_clips=2, seconds_between_frames=0.03
        ),
        "clips_at_regular_timestamps": lambda: seeded(
            clips_at_regular_timestamps, seconds_between_clip_starts=0.1, seconds_between_frames=0.03
        ),
    }


def result(call):
    try:
        return told(call())
    except Exception as error:
        kinds = [kind.__name__ for kind in BUILT_IN if isinstance(error, kind)]
        return f"!{kinds[0] if kinds else type(error).__name__}"


def main() -> None:
    package, path, results = sys.argv[1:]
    home = importlib.import_module({"torchcodec": "torchcodec.decoders"}.get(package, package))
    decoder = home.VideoDecoder(path)
    told_of = {name: result(call) for name, call in calls(decoder, home.VideoDecoder, path).items()}
    np.savez(Path(results).with_suffix(".npz"), frames=decoder.get_all_frames().data.numpy())
    Path(results).write_text(json.dumps(told_of))


if __name__ == "__main__":
    main()
