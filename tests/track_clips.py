"""Videos with sound and subtitles, made by FFmpeg's encoders, and what a demuxer finds in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import SubtitleSet
from clips import moving_clip

RATE = 10
N_FRAMES = 16
SAMPLE_RATE = 48_000
TAGS = {"title": "A film", "comment": "two\nlines", "creation_time": "2020-01-02T03:04:05.000000Z"}
ASS_HEADER = b"[Script Info]\nScriptType: v4.00+\n\n[Events]\nFormat: Layer, Start, End, Style, Text\n"


def write_with_tracks(
    path: Path,
    sound: Sequence[tuple[str, str]],
    subtitles: Sequence[tuple[str, str]],
    *,
    n_frames: int = N_FRAMES,
    frames: np.ndarray | None = None,
) -> Path:
    """A clip of 48x32 at ten frames a second with tracks, each an encoder and a language; sound ends with the pictures.

    A subtitle is shown for 0.3 s at 0.1 s, 0.6 s and so on. Pictures of any size may be given, [T, H, W, 3] uint8.
    """
    frames = moving_clip(n_frames) if frames is None else frames
    n_frames, height, width, _ = frames.shape
    seconds = n_frames / RATE
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=RATE, width=width, height=height, pix_fmt="yuv420p")
        audio = [container.add_stream(codec, rate=SAMPLE_RATE) for codec, _ in sound]
        texts = [container.add_stream(codec) for codec, _ in subtitles]
        for stream, (_, language) in zip([*audio, *texts], [*sound, *subtitles], strict=True):
            stream.metadata.update({"language": language, "title": f"Title {language}"})
        container.metadata.update(TAGS)
        for text in texts:
            text.codec_context.subtitle_header = ASS_HEADER
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(video.encode(None))
        for index, stream in enumerate(audio):
            _mux_sound(container, stream, 440.0 * (index + 1), seconds)
        for text in texts:
            _mux_subtitles(container, text, seconds)
    return path


def _mux_sound(container: av.container.OutputContainer, stream: AudioStream, hertz: float, seconds: float) -> None:
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    wave = np.sin(2 * np.pi * hertz * times).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts = SAMPLE_RATE, 0
    context = stream.codec_context
    resampler = av.AudioResampler(context.format.name, "stereo", SAMPLE_RATE, frame_size=context.frame_size or 1024)
    for part in [*resampler.resample(frame), *resampler.resample(None), None]:
        container.mux(stream.encode(part))


def _mux_subtitles(container: av.container.OutputContainer, stream: SubtitleStream, seconds: float) -> None:
    for index in range(int(seconds / 0.5)):
        text = f"{index},0,Default,,0,0,0,,line {index}".encode()
        packet = stream.codec_context.encode_subtitle(SubtitleSet.create(text, 0, 300))
        packet.stream, packet.time_base = stream, Fraction(1, 1000)
        packet.pts = packet.dts = 100 + 500 * index
        packet.duration = 300
        container.mux(packet)


@dataclass
class Found:
    """One track as a demuxer finds it: packets are (seconds, seconds, bytes)."""

    codec: str
    language: str | None
    title: str | None
    packets: list[tuple[Fraction, Fraction, bytes]] = field(default_factory=list)

    @property
    def data(self) -> list[bytes]:
        return [data for _, _, data in self.packets]

    def times(self, shift: Fraction = Fraction(0)) -> list[Fraction]:
        return [begin + shift for begin, _, _ in self.packets]


@dataclass
class Demuxed:
    """What a demuxer finds in a file; times of frames are in seconds."""

    tags: dict[str, str]
    frames: list[Fraction]
    tracks: list[Found]


def demuxed(path: Path) -> Demuxed:
    """The tracks of a file, and the times of its frames."""
    with av.open(str(path)) as container:
        tracks = {
            stream.index: Found(
                stream.codec_context.codec.canonical_name,
                stream.metadata.get("language"),
                stream.metadata.get("title", stream.metadata.get("name")),
            )
            for stream in container.streams
            if stream.type != "video"
        }
        frames = []
        for packet in container.demux():
            if not packet.size:
                continue
            begin, duration = packet.pts * packet.time_base, (packet.duration or 0) * packet.time_base
            if packet.stream.type == "video":
                frames.append(begin)
            else:
                tracks[packet.stream.index].packets.append((begin, duration, bytes(packet)))
        return Demuxed(
            {key.lower(): value for key, value in container.metadata.items()}, sorted(frames), list(tracks.values())
        )
