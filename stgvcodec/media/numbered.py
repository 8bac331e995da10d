"""Names that stand for several images: `frame_%04d.png` as in printf and ffmpeg, and `frame_*.png` as in shells."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass
from pathlib import Path

_NUMBER = re.compile(r"%(?:0(\d+))?d")


@dataclass(frozen=True)
class NumberedName:
    """A file name with a place for a number.

    Attributes:
        folder: Folder of the files.
        head: Name before the number.
        tail: Name behind the number.
        n_digits: Least digits of the number, which zeros before it make up.
    """

    folder: Path
    head: str
    tail: str
    n_digits: int

    @classmethod
    def parse(cls, path: Path) -> NumberedName | None:
        """Read `%d` or `%04d`, once, in the last part of a path; `%%` is a per cent sign. None for other names."""
        # Signs are taken out first, so that "%%d" is no place for a number.
        name = path.name.replace("%%", "\0")
        places = list(_NUMBER.finditer(name))
        if len(places) != 1:
            return None
        place = places[0]
        head, tail = (part.replace("\0", "%") for part in (name[: place.start()], name[place.end() :]))
        return cls(path.parent, head, tail, int(place[1] or 1))

    def numbered(self, number: int) -> str:
        """Return the name of the file with a number."""
        return f"{self.head}{number:0{self.n_digits}d}{self.tail}"

    def files(self) -> dict[int, Path]:
        """Return the files that are there by their numbers, in order."""
        found = {}
        pattern = re.compile(re.escape(self.head) + r"(\d+)" + re.escape(self.tail))
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            match = pattern.fullmatch(path.name)
            # A number has no more zeros than it needs.
            if match and path.name == self.numbered(int(match[1])) and not path.is_dir():
                found[int(match[1])] = path
        return dict(sorted(found.items()))


def globbed(path: Path) -> list[Path] | None:
    """Return the files that a name with `*`, `?` or `[...]` stands for, unordered; None for other names."""
    if not glob.has_magic(os.fspath(path)):
        return None
    return [found for name in glob.glob(os.fspath(path)) if not (found := Path(name)).is_dir()]  # noqa: PTH207
