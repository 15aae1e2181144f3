"""From finished chunk to verified archive: the archiver process.

May import `core`, `configuration`, `messaging`, `catalog`, `spool`, `store` and the packages below it.
Start with `service`, which wires it; then `archiver`: what happens in each round.
"""
