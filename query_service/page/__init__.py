"""The web page: its files, their addresses, and the links that open it.

`site/` holds plain ES modules, one stylesheet and one HTML file, of which `site/main.js` is the first to read.
May import `core`, `configuration` and `messaging`. Start with `assets`: what the HTTP door serves.
"""
