"""Private names that say which process made them, so that what a killed process left can be told and removed.

A name holds the machine (its boot, and the container that counts its processes), the process, and when that started. If
this machine has no such process any more, nobody writes. Of another machine only this is known: whoever writes holds
a lock, where the file system has locks, and a file that grows changes. So what another machine made is removed if
nobody holds a lock on it and nothing of it was changed for a day.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from functools import lru_cache
from pathlib import Path
from zlib import crc32

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["PRIVATE", "hold", "is_abandoned", "remove_abandoned", "token"]

#: A name with a `token` in it.
PRIVATE = re.compile(r".*?([0-9a-f]{8})-(\d+)-(\d+)-[0-9a-f]{8}(\.partial|\.replaced)?")
_DAY = 86400.0
_LIST_SECONDS = 2.0
#: Folder -> when its names were listed, and the private ones among them. Thousands of files go into one folder.
_listed: dict[str, tuple[float, list[str]]] = {}


def token() -> str:
    """Return the part of a private name that says who made it; each time another."""
    pid = os.getpid()
    return f"{_machine()}-{pid}-{_started(pid) or 0}-{os.urandom(4).hex()}"


@lru_cache(1)
def _machine() -> str:
    """Return 8 hex digits for this boot of this machine, and the container in which processes are counted."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text() + os.readlink("/proc/self/ns/pid")  # noqa: PTH115
    except OSError:
        import platform

        text = platform.node()
    return f"{crc32(text.encode()):08x}"


def _started(pid: int) -> int | None:
    """Return when a process started, in ticks since the boot; None where the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _is_running(pid: int, started: int) -> bool:
    now = _started(pid)
    if now is not None and started:
        return now == started
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        pass
    return True


def hold(fd: int) -> None:
    """Lock an open file for as long as `fd` is open, where the file system has locks."""
    if fcntl is not None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return


def is_abandoned(path: Path, *, elsewhere: bool = True) -> bool:
    """Tell whether nobody writes to a file or folder of a private name any more.

    Parameters
    ----------
    path : Path
        Of any name; one without a token is nobody's to judge.
    elsewhere : bool
        Whether what another machine made is looked at, too.
    """
    match = PRIVATE.fullmatch(path.name)
    if match is None or os.name == "nt":
        return False
    machine, pid, started = match[1], int(match[2]), int(match[3])
    if machine == _machine():
        return not _is_running(pid, started)
    try:
        return elsewhere and _newest(path) < time.time() - _DAY and not _is_held(path)
    except OSError:
        return False


def _newest(path: Path) -> float:
    newest = path.lstat().st_mtime
    if path.is_dir() and not path.is_symlink():
        newest = max([newest, *(_newest(inside) for inside in path.iterdir())])
    return newest


def _is_held(path: Path) -> bool:
    if fcntl is None or path.is_dir():
        return False
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there are no locks
        return False
    finally:
        os.close(fd)
    return False


def remove_abandoned(folder: Path, prefix: str, *, elsewhere: bool = True, keep_replaced: bool = False) -> None:
    """Remove what killed processes left in a folder under private names that begin with `prefix`.

    Parameters
    ----------
    folder : Path
        Where to look; names that were made in the last seconds may be missed.
    prefix : str
        How the names begin.
    elsewhere : bool
        See `is_abandoned`.
    keep_replaced : bool
        Whether folders that were to be replaced stay: nothing has taken their place yet.
    """
    for name in _private_names(folder):
        path = folder / name
        if not name.startswith(prefix) or (keep_replaced and name.endswith(".replaced")):
            continue
        if is_abandoned(path, elsewhere=elsewhere):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                _unlink(path)


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # it is somebody else's to remove
        return


def _private_names(folder: Path) -> list[str]:
    now, key = time.monotonic(), str(folder)
    when, names = _listed.get(key, (-_LIST_SECONDS, []))
    if now - when >= _LIST_SECONDS:
        try:
            names = [name for name in os.listdir(folder) if PRIVATE.fullmatch(name)]  # noqa: PTH208
        except OSError:
            names = []
        _listed.clear() if len(_listed) > 64 else None
        _listed[key] = (now, names)
    return names
