"""The page of `stgvcodec inspect` in a real browser, Chromium: what it draws, what a click does, what it asks for.

Set STGV_SCREENSHOTS to a folder to keep pictures of the page.
"""

from __future__ import annotations

import importlib.resources
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stgvcodec.cli import main

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
OPTIONS += ["--disable-component-update", "--disable-sync"]
PHONE, DESKTOP = (360, 740), (1280, 900)
GOLDEN = Path(__file__).parents[1] / "golden"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[test]'")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory) -> Path:
    """The shipped clip: two GoPs of four frames."""
    folder = tmp_path_factory.mktemp("inspected")
    selection = ["--frames", "66:74", "--resize", "160x90"]
    with importlib.resources.as_file(importlib.resources.files("stgvcodec") / "data" / "bunny.mp4") as clip:
        encoding = ["--gaussians", "400", "--gop", "4", "--preset", "draft", "--no-scene-cut", "--device", "cpu", "-q"]
        assert main(["encode", str(clip), str(folder / "bunny.stgv"), *selection, *encoding]) == 0
        options = ["--source", str(clip), *selection, "--pictures", "4", "--device", "cpu", "-q"]
        assert main(["inspect", str(folder / "bunny.stgv"), "-o", str(folder / "page.html"), *options]) == 0
    return folder / "page.html"


@pytest.fixture
def opened(browser):
    """Opens a page of a size and a colour scheme, and refuses errors, warnings and requests for anything else."""

    @contextmanager
    def open_page(path: Path, size: tuple[int, int], scheme: str) -> Iterator:
        complaints: list[str] = []
        width, height = size
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=size == PHONE
        )
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        address = path.resolve().as_uri()
        page.on("request", lambda request: request.url.startswith(("data:", address)) or complaints.append(request.url))
        page.goto(address)
        yield page
        if folder := os.environ.get("STGV_SCREENSHOTS"):
            page.screenshot(path=Path(folder) / f"{path.stem}-{width}-{scheme}.png", full_page=True)
        context.close()
        assert complaints == []

    return open_page


def background(page) -> tuple[int, ...]:
    text = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return tuple(map(int, re.findall(r"\d+", text)[:3]))


def n_colors(page, canvas: str) -> int:
    """Different colours that are drawn on a canvas."""
    # It is copied to be read, since a canvas that is drawn on and read by turns makes Chromium complain.
    script = f"""() => {{
      const canvas = document.querySelector({canvas!r});
      const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", {{ willReadFrequently: true }});
      copy.drawImage(canvas, 0, 0);
      return new Set(new Uint32Array(copy.getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size;
    }}"""
    return page.evaluate(script)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_page_fits_and_draws(opened, page_file, size, scheme):
    with opened(page_file, size, scheme) as page:
        assert page.title().startswith("bunny.stgv")
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert (sum(background(page)) < 200) == (scheme == "dark")
        for canvas in ("#timeline", "#histogram"):
            assert n_colors(page, canvas) > 4
        assert page.locator("#figures").inner_text().count("intact") == 1
        assert page.locator("#worth tbody tr").count() >= 10
        # The clip is shown, and not a broken picture.
        assert page.evaluate("document.getElementById('left').naturalWidth") == 160


def test_a_gop_is_chosen_by_click_and_by_key(opened, page_file):
    with opened(page_file, DESKTOP, "light") as page:
        timeline = page.locator("#timeline")
        assert "GoP 0: frames 0 to 3" in page.locator("#gop-facts").inner_text()
        box = timeline.bounding_box()
        page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 0.6 * box["height"])
        assert "GoP 1: frames 4 to 7" in page.locator("#gop-facts").inner_text()
        assert timeline.get_attribute("aria-valuenow") == "1"
        assert "GoP 1" in page.locator("#picture-caption").inner_text()
        timeline.press("ArrowLeft")
        assert "GoP 0: frames 0 to 3" in page.locator("#gop-facts").inner_text()
        assert "GoP 0, frames 0 to 3" in timeline.get_attribute("aria-valuetext")


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_a_gaussian_is_clicked_and_its_values_are_read(opened, page_file, size):
    with opened(page_file, size, "dark") as page:
        page.locator("#overlay-ellipses").click()
        assert n_colors(page, "#overlay") > 50
        overlay = page.locator("#overlay")
        box = overlay.bounding_box()
        overlay.click(position={"x": 0.3 * box["width"], "y": 0.4 * box["height"]})
        name = page.locator("#gaussian-name").inner_text()
        assert re.fullmatch(r"Gaussian \d+ of 400", name)

        rows = page.locator("#gaussian table").first.locator("tbody tr").all()
        cells = [[cell.inner_text() for cell in row.locator("td").all()] for row in rows]
        assert [row[0] for row in cells][:2] == ["bucket", "low bits"]
        bits = [float(row[2]) for row in cells[:-1]]
        assert sum(bits) == pytest.approx(float(page.locator("#gaussian-bits").inner_text()), abs=0.06)
        values = page.locator("#gaussian-values").inner_text()
        x, y = map(float, re.search(r"in this frame\s+(-?[\d.]+), (-?[\d.]+) px", values).groups())
        assert abs(x - 0.3 * 160) < 40
        assert abs(y - 0.4 * 90) < 40

        page.locator("#next-gaussian").click()
        assert page.locator("#gaussian-name").inner_text() != name
        page.locator("#gaussian-number").fill("7")
        page.locator("#gaussian-number").press("Enter")
        assert page.locator("#gaussian-name").inner_text() == "Gaussian 7 of 400"


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_wipe_is_dragged_and_moved_by_keys(opened, page_file, size):
    with opened(page_file, size, "light") as page:
        wipe = page.locator("#wipe")
        page.locator("#stage").scroll_into_view_if_needed()
        assert wipe.get_attribute("aria-label") == "Wipe between decoded and source"
        stage, handle = page.locator("#stage").bounding_box(), wipe.bounding_box()
        middle = handle["y"] + handle["height"] / 2
        page.mouse.move(handle["x"] + handle["width"] / 2, middle)
        page.mouse.down()
        page.mouse.move(stage["x"] + 0.25 * stage["width"], middle, steps=4)
        page.mouse.up()
        assert abs(int(wipe.get_attribute("aria-valuenow")) - 25) <= 1
        assert "25" in page.evaluate("document.getElementById('right').style.clipPath")
        page.mouse.move(stage["x"] + 0.8 * stage["width"], middle)
        assert abs(int(wipe.get_attribute("aria-valuenow")) - 25) <= 1
        wipe.press("ArrowRight")
        assert abs(int(wipe.get_attribute("aria-valuenow")) - 27) <= 1
        page.locator("#right-view").select_option("error")
        assert wipe.get_attribute("aria-label") == "Wipe between decoded and error \u00d78"


def test_overlays_models_and_bytes_answer(opened, page_file):
    with opened(page_file, DESKTOP, "dark") as page:
        page.locator("#frame-1").click()
        for overlay, said in (("map", "bits a cell"), ("motion", "Mean motion")):
            page.locator(f"#overlay-{overlay}").click()
            assert said in page.locator("#picture-caption").inner_text()
            assert n_colors(page, "#overlay") > 20
        page.locator("#since").select_option("sent")
        assert "where they are transmitted" in page.locator("#picture-caption").inner_text()
        page.locator("#stream-choice").select_option("field")
        page.locator("#array-choice").select_option("w1")
        assert "w1" in page.locator("#histogram").get_attribute("aria-label")
        assert page.locator("#models-section").get_by_text("bits a symbol").count() == 2
        page.locator("#stream-choice").select_option("point_bits")
        assert not page.locator("#histogram").is_visible()

        gop = page.locator("#tree > details", has_text="GOP").last
        gop.locator("summary").first.click()
        shapes = gop.locator("details", has_text="\u00a74.5 shapes and colors").first
        shapes.wait_for()
        assert "CRC ok" in gop.inner_text()
        shapes.locator("summary").first.click()
        # Branches are made when they are opened, a moment after the click.
        shapes.get_by_text("model of log scale of l1").wait_for()


@pytest.mark.parametrize("cut", [None, 2000, 60], ids=["flipped bit", "cut in a GoP", "cut in the file header"])
def test_a_page_about_a_damaged_file_says_so(opened, tmp_path, cut):
    data = bytearray((GOLDEN / "two_gops.stgv").read_bytes())
    data[400] ^= 1
    (tmp_path / "damaged.stgv").write_bytes(data[:cut])
    page_path = tmp_path / "page.html"
    assert main(["inspect", str(tmp_path / "damaged.stgv"), "-o", str(page_path), "--device", "cpu", "-q"]) == 0
    with opened(page_path, PHONE, "dark") as page:
        assert "damaged" in page.locator("#figures").inner_text()
        assert page.locator("#notes .warning li").count() >= 1
        assert page.locator("#tree .badge.bad").count() >= 1
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
