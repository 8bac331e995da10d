"""The help of a command, with its options under headings, in the same order for every command."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import click

SECTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Target (at most one)": ("bpp_target", "size_target", "psnr_target", "n_gaussians"),
        "Curves": ("rates", "anchors", "profiles", "against", "encode_only", "plot_only"),
        "Effort and model": (
            *("preset", "profile", "gop", "no_scene_cut", "key_frame", "initialization"),
            *("color_stages", "color_codebook_size", "seed"),
        ),
        "Frames and picture": (
            *("source", "pictures", "frames", "time", "crop", "resize", "square", "mask", "matrix", "stream"),
            *("scale", "size", "roi", "fps", "repeat", "keep_going", "follow"),
        ),
        "Sound, subtitles and metadata": ("no_audio", "no_subtitles", "no_metadata"),
        "Player": ("player", "start", "loop"),
        "Server": ("host", "port", "open_page"),
        "Output": (
            *("codec", "crf", "pixel_format", "folder", "page", "figure", "table_path", "note", "json_path", "as_json"),
            *("resume", "yes", "no"),
        ),
        "Files from strangers": ("max_memory", "max_work"),
        "Computing": ("device", "backend", "jobs", "engine", "quick"),
        "Messages": ("quiet", "verbose", "help"),
    }
)
"""Heading -> the options under it, by the names of their parameters; a command shows those that it has."""


class SectionedCommand(click.Command):
    """A command whose help has its options under the headings of `SECTIONS`."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, a section a heading; one that is in no section is under "Options" at the end."""
        records = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                # Releases of click name this one in their own ways.
                records["help" if "--help" in parameter.opts else parameter.name] = record
        for title, names in SECTIONS.items():
            _write(formatter, title, [records.pop(name) for name in names if name in records])
        _write(formatter, "Options", list(records.values()))


def _write(formatter: click.HelpFormatter, title: str, rows: list[tuple[str, str]]) -> None:
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows)
