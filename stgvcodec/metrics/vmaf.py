"""VMAF, measured by an `ffmpeg` program that has the filter libvmaf, if there is one.

Programs of Linux distributions are often built without the filter (Debian's is). The package imageio-ffmpeg, which the
extra "vmaf" installs, brings one that has it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from stgvcodec.errors import StgvError

_LOG = "vmaf.json"


@dataclass(frozen=True)
class VmafProgram:
    """An `ffmpeg` with libvmaf.

    Attributes:
        path: Path of the program.
        version: Name and version that the program prints.
    """

    path: str
    version: str

    @classmethod
    def find(cls) -> VmafProgram | None:
        """Return the `ffmpeg` on the PATH, or else that of imageio-ffmpeg; None if neither is there with libvmaf."""
        paths = (shutil.which("ffmpeg"), _packaged())
        return next((found for path in paths if path is not None and (found := cls._at(path)) is not None), None)

    @classmethod
    def _at(cls, path: str) -> VmafProgram | None:
        try:
            filters = subprocess.run([path, "-hide_banner", "-filters"], capture_output=True, text=True, check=True)
            version = subprocess.run([path, "-version"], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        if not any(line.split()[1:2] == ["libvmaf"] for line in filters.stdout.splitlines()):
            return None
        return cls(path, " ".join(version.stdout.split()[:3]))

    def score(self, reference: Path, distorted: Path, scratch: Path) -> float:
        """Measure the mean VMAF over the frames with libvmaf's default model.

        Args:
            reference: A y4m file of the original frames.
            distorted: A y4m file of the decoded frames, of the same size and length.
            scratch: Folder for libvmaf's log.

        Returns:
            VMAF, 0 to 100.

        Raises:
            StgvError: the program fails.
        """
        inputs = ["-i", str(distorted.resolve()), "-i", str(reference.resolve())]
        # The log is named without a folder, since a path would need escaping in a filter's options.
        graph = f"[0:v][1:v]libvmaf=log_fmt=json:log_path={_LOG}:n_threads={os.cpu_count() or 1}"
        command = [self.path, "-v", "error", "-nostdin", *inputs, "-lavfi", graph, "-f", "null", "-"]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=scratch)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise StgvError(f"{self.path} could not measure VMAF: {lines[-1]}")
        log = json.loads((scratch / _LOG).read_text(encoding="utf-8"))
        return float(log["pooled_metrics"]["vmaf"]["mean"])


def _packaged() -> str | None:
    """Return the path of the program that imageio-ffmpeg brings; None without the package or its program."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ImportError:
        return None
    try:
        return str(get_ffmpeg_exe())
    except RuntimeError:
        return None
