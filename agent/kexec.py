"""Loads a kernel to go on with, by the program `kexec`: saves the minutes that firmware takes for a reboot."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from tempfile import mkdtemp
from typing import Callable, Optional
from urllib.parse import urlsplit

from .client import Client
from .errors import ConfigError, FileTrouble, Refused, ServerAway
from .messages import Request
from .protocol import DOWNLOAD_TIMEOUT_SECONDS, Kernel

PROGRAM = "kexec"
FETCH_TRIES = 3  # beyond this an ordinary reboot is the better way
_ALIGNMENT = 4  # of one archive behind another (Linux, Documentation/driver-api/early-userspace/buffer-format.rst)

Run = Callable[[Sequence[str]], Optional[str]]


class KernelLoader:
    """`client_for` makes a client for a server's address; `run` gives a program's output, None when it fails."""

    def __init__(self, client_for: Callable[[str], Client], run: Run, work_dir: str = "") -> None:
        self._client_for = client_for
        self._run = run
        self._work_dir = work_dir

    def load(self, kernel: Kernel) -> str:
        """Fetch and load it; why that could not be done, or "". Raises `Stopped`."""
        try:
            folder = mkdtemp(prefix="kexec-", dir=self._work_dir or None)
        except OSError as error:
            return str(error)
        try:
            return self._load(kernel, folder)
        except (OSError, ConfigError, FileTrouble, Refused, ServerAway) as error:
            return str(error)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _load(self, kernel: Kernel, folder: str) -> str:
        image, initrd = os.path.join(folder, "vmlinuz"), os.path.join(folder, "initrd")
        self._fetch(kernel.kernel, image)
        words = [PROGRAM, "--load", image, f"--command-line={kernel.cmdline}"]
        if kernel.initrds:
            for url in kernel.initrds:
                self._add(url, os.path.join(folder, "part"), initrd)
            words.append(f"--initrd={initrd}")
        # Firmware with Secure Boot wants the one call of the kernel, old kernels know only the other.
        if self._run([*words, "--kexec-syscall-auto"]) is None and self._run(words) is None:
            return f"{PROGRAM} cannot load it"
        return ""

    def _fetch(self, url: str, path: str) -> None:
        parts = urlsplit(url)
        where = parts.path + (f"?{parts.query}" if parts.query else "")
        request = Request("GET", where, timeout_seconds=DOWNLOAD_TIMEOUT_SECONDS)
        with open(path, "wb") as file:
            self._client_for(f"{parts.scheme}://{parts.netloc}").save(request, file, tries=FETCH_TRIES)

    def _add(self, url: str, part: str, initrd: str) -> None:
        """Several initrds are one: the kernel unpacks them in turn."""
        self._fetch(url, part)
        with open(part, "rb") as source, open(initrd, "ab") as target:
            target.write(bytes(-target.tell() % _ALIGNMENT))
            shutil.copyfileobj(source, target)
        os.unlink(part)
