"""From sound card to finished chunk."""

import importlib
import os
import sys
import urllib
from types import ModuleType
from typing import Any

# Before NumPy is imported: its matrices here are small, and each thread of OpenBLAS costs memory and CPU
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


class _Later(ModuleType):
    """Stands for a module until somebody asks it for something. (importlib's LazyLoader loads at the next import.)"""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


# paho imports it for the names of HTTP proxies, which it never asks for here; with it come HTTP, mail and archive
# formats, 1.3 MB of a process that is to be small
if "urllib.request" not in sys.modules:
    urllib.request = sys.modules["urllib.request"] = _Later("urllib.request")  # type: ignore[attr-defined]
