"""The pictures of README and docs/page.md: `scripts/screenshots [FOLDER]` writes them there, by default to docs/."""

from __future__ import annotations

import base64
import struct
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from playwright.sync_api import Browser, Page, ViewportSize, expect

from edge.core.instant import Instant
from edge.messaging.owner_proof import make_proof, signing_key
from query_service.page.codes import make_code
from tests.support.browser import running_browser
from tests.support.nodes.garden_node import DAWN, KEY, MINUTE, YESTERDAY, running_garden
from tests.support.spool.chunks import SECOND

SIZES: dict[str, ViewportSize] = {
    "page.png": {"width": 1280, "height": 1600},
    "page-phone.png": {"width": 375, "height": 1500},
}
PLAYED = 15 * SECOND
COLOURS = 64
PIXELS = """async (picture) => {
  const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${picture}`)).blob());
  const pen = new OffscreenCanvas(image.width, image.height).getContext("2d");
  pen.drawImage(image, 0, 0);
  const { data } = pen.getImageData(0, 0, image.width, image.height);
  let text = "";
  for (let at = 0; at < data.length; at += 32768) text += String.fromCharCode(...data.subarray(at, at + 32768));
  return [image.width, image.height, btoa(text)];
}"""


def main() -> int:
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    with (
        tempfile.TemporaryDirectory() as folder,
        running_garden(Path(folder)) as settings,
        running_browser() as browser,
    ):
        for name, size in SIZES.items():
            page = browser.new_page(viewport=size, timezone_id="UTC", locale="en-US", color_scheme="light")
            show(page, f"http://127.0.0.1:{settings.http.port}/")
            data = in_few_colours(page.screenshot(), browser)
            (target / name).write_bytes(data)
            sys.stdout.write(f"{target / name}: {len(data) / 1000:.0f} kB\n")
            page.close()
    return 0


def show(page: Page, address: str) -> None:
    """Yesterday, and the loudest sound of the dawn, which plays."""
    now = time.time()
    code = make_code(KEY, now, make_proof(signing_key("the key of the owner"), now))
    first = Instant(YESTERDAY + DAWN * MINUTE)
    shown = f"from={YESTERDAY}&to={Instant(YESTERDAY + 24 * 60 * MINUTE)}"
    page.goto(f"{address}#{shown}&play={first}&until={Instant(first + PLAYED)}&code={code}")
    expect(page.locator("#calendar button.gaps").first).to_be_visible()
    expect(page.locator("#sounds button").first).to_be_visible()
    expect(page.locator("#happenings li").nth(3)).to_be_visible()
    page.click("#play")
    expect(page.locator("#sound canvas").nth(1)).to_be_visible()
    page.wait_for_function("() => !document.getElementById('position').textContent.endsWith(':00')")
    page.click("#play")


def in_few_colours(picture: bytes, browser: Browser) -> bytes:
    """The same PNG with a palette: a third of the size."""
    page = browser.new_page()
    width, height, text = page.evaluate(PIXELS, base64.b64encode(picture).decode())
    page.close()
    pixels = np.frombuffer(base64.b64decode(text), np.uint8).reshape(height * width, 4)[:, :3]
    palette, chosen = _palette(pixels)
    rows = np.zeros((height, width + 1), np.uint8)  # each begins with its filter: none
    rows[:, 1:] = chosen.reshape(height, width)
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = ((b"IHDR", head), (b"PLTE", palette.tobytes()), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def _palette(pixels: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The most frequent colours, and the nearest of them for each pixel."""
    packed = pixels.astype(np.uint32) @ np.array([65_536, 256, 1], np.uint32)
    colours, places, counts = np.unique(packed, return_inverse=True, return_counts=True)
    each = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1).astype(np.int32)
    # of colours that nearly are the same, one
    coarse = each[np.argsort(-counts)] // 12
    _, first = np.unique(coarse, axis=0, return_index=True)
    palette = each[np.argsort(-counts)][np.sort(first)[:COLOURS]]
    nearest = np.array([np.argmin(((palette - colour) ** 2).sum(axis=1)) for colour in each], np.uint8)
    return palette.astype(np.uint8), nearest[places]


if __name__ == "__main__":
    sys.exit(main())
