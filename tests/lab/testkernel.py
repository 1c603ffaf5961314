"""The test kernel on the host's side: find or build it, boot it with a command, bring back what it found."""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).resolve().parent / "kernel"
_CHECKOUT = Path(__file__).resolve().parents[2]
VARIABLE = "ROAMVPN_LAB_KERNEL"
_SPLAT = ("BUG:", "Oops", "Call Trace", "WARNING:", "Kernel panic")


class TestKernelError(RuntimeError):
    """There is no test kernel, or it failed; a lab test that cannot run has failed."""

    __test__ = False


@dataclass(frozen=True, slots=True)
class TestKernel:
    """A user-mode Linux and the library that it is preloaded with."""

    __test__ = False

    kernel: Path
    shim: Path

    def run(self, out: Path, *argv: str, seconds: int = 300, number: int = 0) -> str:
        """Boot, run `argv` as root, power off; returns its output; raises if it fails or the kernel complains.

        Kernels that run side by side have different numbers: each keeps to one processor.
        """
        processors = sorted(os.sched_getaffinity(0))
        environment = {**os.environ, "VM_CPU": str(processors[number % len(processors)])}
        out.mkdir(parents=True, exist_ok=True)
        command = [str(_HERE / "vm-run"), "-t", str(seconds), "-k", str(self.kernel), "-s", str(self.shim)]
        done = subprocess.run(
            [*command, "-o", str(out), *argv],
            cwd=_CHECKOUT,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        log = (out / "kernel.log").read_text(errors="replace")
        if done.returncode or any(word in log for word in _SPLAT):
            raise TestKernelError(f"exit {done.returncode}\n{done.stdout}\n{log[-3000:]}")
        return done.stdout


def find() -> TestKernel:
    """The kernel named by a variable, or the one that lies beside the checkout, or one built from Debian's sources."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "roamvpn-lab"
    cache.mkdir(parents=True, exist_ok=True)
    return TestKernel(_kernel(cache), _shim(cache))


def _kernel(cache: Path) -> Path:
    named = os.environ.get(VARIABLE)
    if named:
        if not os.access(named, os.X_OK):
            raise TestKernelError(f"{VARIABLE}={named}: is not a program")
        return Path(named)
    packed = _CHECKOUT.parent / "shared/lab-kernel/linux.xz"
    if packed.is_file():
        raw = packed.read_bytes()
        return _cached(cache / f"linux-{hashlib.sha256(raw).hexdigest()[:16]}", lambda: lzma.decompress(raw))
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise TestKernelError(
            f"no test kernel: name one in {VARIABLE}, or run {_HERE / 'build-kernel'} {cache} as root on Debian"
        )
    print("building the test kernel from Debian's sources, once: 5 to 20 minutes", flush=True)  # noqa: T201 - progress
    subprocess.run([str(_HERE / "build-kernel"), str(cache)], check=True)
    return cache / "linux"


def _cached(path: Path, make: object) -> Path:
    if not path.exists():
        assert callable(make)
        staged = path.with_suffix(f".{os.getpid()}")
        staged.write_bytes(make())
        staged.chmod(0o755)
        staged.replace(path)
    return path


def _shim(cache: Path) -> Path:
    source = _HERE / "xstate-shim.c"
    path = cache / f"xstate-shim-{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}.so"
    if not path.exists():
        staged = path.with_suffix(f".{os.getpid()}")
        subprocess.run(["gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", str(staged), str(source), "-ldl"], check=True)
        staged.replace(path)
    return path
