"""The rules that hold the code base together, one file per rule: docs/architecture.md states them.

Each rule is a function from parsed source to a list of breaches, so that it is tested on broken samples too.
"""
