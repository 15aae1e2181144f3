"""What is written for others as documents: AsyncAPI, the example configuration, the files in deploy/."""

from __future__ import annotations

from pathlib import Path

from tests import asyncapi
from tests.contract import product
from tests.contract.output import Output

_ROOT = Path(__file__).parents[2]


def write(output: Output) -> None:
    _, body = asyncapi.text().split("\n", 1)  # the first line names the modules it was written from
    output.text("asyncapi.yaml", body)
    output.text("config_example.ini", product.example_ini())
    deploy = _ROOT / "deploy"
    for path in sorted(deploy.rglob("*")):
        if path.is_file():
            output.text(f"deploy/{path.relative_to(deploy)}", path.read_text(encoding="utf-8"))
