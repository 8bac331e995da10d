"""Make docs/inspect.png: part of the page of `stgvcodec inspect` about the shipped clip, as Chromium shows it.

python .ci/inspect_screenshot.py

It takes half a minute, and needs Chromium and what the tests need.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "inspect.png"
CLIP = ROOT / "stgvcodec" / "data" / "bunny.mp4"
SELECTION = ["--frames", "66:90", "--resize", "320x180"]
ENCODING = [
    "--preset",
    "draft",
    "--bpp-target",
    "0.25",
    "--gop",
    "8",
    "--no-audio",
    "--no-scene-cut",
    "--device",
    "cpu",
]
OPTIONS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
WIDTH, HEIGHT = 1120, 1700
N_COLORS = 88


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = [sys.executable, "-m", "stgvcodec"]
        subprocess.run([*program, "encode", CLIP, folder / "bunny.stgv", *SELECTION, *ENCODING, "-q"], check=True)
        options = ["--source", CLIP, *SELECTION, "--device", "cpu", "-q"]
        subprocess.run([*program, "inspect", folder / "bunny.stgv", "-o", folder / "page.html", *options], check=True)
        shown = folder / "page.png"
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=OPTIONS)
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
            page.goto((folder / "page.html").as_uri())
            page.locator("#frame-2").click()
            page.locator("#overlay-ellipses").click()
            box = page.locator("#overlay").bounding_box()
            page.mouse.click(box["x"] + 0.62 * box["width"], box["y"] + 0.35 * box["height"])
            page.locator("#overlay-ellipses").evaluate("(button) => button.blur()")
            end = page.locator("#models-section").bounding_box()["y"]
            page.screenshot(path=shown, clip={"x": 0, "y": 0, "width": WIDTH, "height": end})
            browser.close()
        Image.open(shown).convert("RGB").quantize(N_COLORS, dither=Image.Dither.NONE).save(PICTURE, optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
