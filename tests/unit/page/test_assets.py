"""The page's files: their addresses change with their content, and nothing unsafe is in them."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

from query_service.page import assets

SITE = Path(assets.__file__).parent / "site"


def test_every_file_of_the_site_has_an_address_and_every_reference_leads_to_one() -> None:
    site = assets.site()
    stems = {address.rpartition("-")[0].removeprefix("/assets/") for address in site.assets}
    assert stems >= {path.stem for path in SITE.iterdir() if path.suffix in (".js", ".css")}
    for asset in site.assets.values():
        text = gzip.decompress(asset.compressed).decode()
        imported = set(re.findall(r'from "([^"]+)"', text))
        assert imported <= site.assets.keys()
    assert "{{" not in site.template.replace("{{nonce}}", "")


def test_an_address_changes_with_what_it_leads_to_and_with_what_that_imports(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text('<script src="{{main.js}}"></script>')
    (tmp_path / "main.js").write_text('import { a } from "./a.js";')
    (tmp_path / "a.js").write_text("export const a = 1;")
    before = assets.read_site(tmp_path)
    (tmp_path / "a.js").write_text("export const a = 2;")
    after = assets.read_site(tmp_path)
    assert before.assets.keys().isdisjoint(
        {address for address in after.assets if "/a-" in address or "/main-" in address}
    )
    assert before.template != after.template


def test_each_page_has_a_nonce_of_its_own_and_allows_no_inline_code() -> None:
    (one, headers), (other, _) = assets.site().page(), assets.site().page()
    assert one != other
    policy = headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert b"<script>" not in one
    assert b"style=" not in one
    assert not re.search(rb"\son\w+=", one)


def test_the_first_view_is_small() -> None:
    assert sum(len(asset.compressed) for asset in assets.site().assets.values()) < 400_000


def test_what_plain_http_lacks_is_not_needed() -> None:
    """crypto.subtle, randomUUID, AudioWorklet, locks and service workers exist in secure contexts alone."""
    for path in SITE.glob("*.js"):
        text = path.read_text()
        for name in (
            "crypto.",
            "audioWorklet",
            "AudioWorklet",
            "serviceWorker",
            "navigator.locks",
            "innerHTML",
            "eval(",
        ):
            assert name not in text, path


def test_the_first_view_does_not_wait_for_what_only_draws_a_sound() -> None:
    at_once = re.findall(r'(?:src|href)="([^"]+)"', assets.site().template)
    assert [address for address in at_once if re.search("wavesurfer|spectrogram-plugin", address)] == []
