"""The files of the page under addresses that hold their content's hash, so that browsers may keep them for ever."""

from __future__ import annotations

import gzip
import hashlib
import re
import secrets
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from edge.core.errors import ImHearingError

_SITE = Path(__file__).parent / "site"
_MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css"}
_LIBRARIES = {"wavesurfer.js": "js/wavesurfer.min.js", "spectrogram-plugin.js": "js/plugins/spectrogram.min.js"}
_IMPORTED = re.compile(rb'"\./([a-z-]+\.js)"')
_PLACEHOLDER = re.compile(r"\{\{([a-z-]+\.(?:js|css))\}\}")


class Asset(NamedTuple):
    media_type: str
    compressed: bytes  # gzip


class Site(NamedTuple):
    assets: dict[str, Asset]  # by address
    template: str  # the page, with the addresses in place

    def page(self) -> tuple[bytes, dict[str, str]]:
        """The HTML and its headers; each time with another nonce, for the styles that wavesurfer makes."""
        nonce = secrets.token_urlsafe(16)
        html = self.template.replace("{{nonce}}", nonce)
        return html.encode(), {"Content-Security-Policy": _policy(nonce), "Referrer-Policy": "no-referrer"}


def _policy(nonce: str) -> str:
    return (
        f"default-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; media-src 'self' blob:;"
        " object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


@cache
def site() -> Site:
    """Everything that the page consists of, read once. Raises ImHearingError where a library is missing."""
    return read_site(_SITE)


def read_site(folder: Path) -> Site:
    """The page in `folder`, with its libraries."""
    building = _Building(_sources(folder))
    names = {name: building.address(name) for name in building.sources}
    template = _PLACEHOLDER.sub(lambda found: names[found[1]], (folder / "index.html").read_text(encoding="utf-8"))
    # at once, instead of each when another one that imports it has come
    modules = (names[name] for name in sorted(names) if name.endswith(".js") and name not in _LIBRARIES)
    preloaded = "\n".join(f'<link rel="modulepreload" href="{address}">' for address in modules)
    return Site(building.assets, template.replace("{{modules}}", preloaded))


class _Building:
    """Gives each file its address; a module's depends on those of the modules that it imports."""

    def __init__(self, sources: dict[str, bytes]) -> None:
        self.sources = sources
        self.assets: dict[str, Asset] = {}
        self._addresses: dict[str, str] = {}

    def address(self, name: str) -> str:
        if name not in self._addresses:
            data = _IMPORTED.sub(
                lambda found: b'"' + self.address(found[1].decode()).encode() + b'"', self.sources[name]
            )
            stem, _, ending = name.rpartition(".")
            address = f"/assets/{stem}-{hashlib.sha256(data).hexdigest()[:16]}.{ending}"
            self._addresses[name] = address
            self.assets[address] = Asset(_MEDIA_TYPES[f".{ending}"], gzip.compress(data, 9, mtime=0))
        return self._addresses[name]


def _sources(site_folder: Path) -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in sorted(site_folder.iterdir()) if path.suffix in _MEDIA_TYPES}
    spec = find_spec("wavesurfer")  # not imported: it needs packages that are not installed
    if spec is None or not spec.submodule_search_locations:
        raise ImHearingError("the page needs the package wavesurfer; run scripts/setup")
    folder = Path(spec.submodule_search_locations[0])
    return found | {name: (folder / path).read_bytes() for name, path in _LIBRARIES.items()}
