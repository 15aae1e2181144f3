"""Fuzzing of every parser of foreign bytes: what comes out is a value or one of our errors, soon and in little memory.

`targets` has one entry for each parser. A short run is in the suite (`test_fuzzing.py`); for longer ones, run
`python -m tests.fuzz --seconds 600 [PARSER ...]`.
"""
