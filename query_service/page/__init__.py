"""The web page: its files, and under which addresses they are served. Imports `edge.core` alone.

`site/` holds plain ES modules, one stylesheet and one HTML file; start reading with `site/main.js`. The HTTP door
serves what `assets` gives.
"""
