"""A folder that stands for a mount point: disks are folders that take its place, so that no test needs root."""

from __future__ import annotations

from pathlib import Path

ROOT_DISK = 0


class MountPoint:
    """`path` leads to the root disk until a disk, named by a number above 0, is mounted there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mounted = ROOT_DISK
        path.mkdir(parents=True)

    def mount(self, disk: int) -> None:
        """Mounts a disk, empty the first time."""
        self.path.rename(self._away(self._mounted))
        away = self._away(disk)
        away.mkdir(exist_ok=True)
        away.rename(self.path)
        self._mounted = disk

    def unmount(self) -> None:
        self.mount(ROOT_DISK)

    def device(self, path: Path) -> int:
        """What `stat` would tell of the file system that `path` is on."""
        return self._mounted if path.is_relative_to(self.path) else ROOT_DISK

    def _away(self, disk: int) -> Path:
        return self.path.with_name(f"{self.path.name}-{disk}")
