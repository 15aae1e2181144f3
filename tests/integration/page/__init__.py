"""Fewer than three files because the browser is started once for all of them."""
