# SPDX-License-Identifier: GPL-2.0-only
"""What the benchmark scripts share: output lines, the page cache, memory cgroups, fio as the yardstick."""

import contextlib
import ctypes
import json
import mmap
import os
import shutil
import subprocess
import sys
import tempfile

SUPPORT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support")
sys.path.insert(0, SUPPORT)
import vram_daemon  # noqa: E402

SKIP = 77
HUGE_KB = 2048
MB = 1 << 20


def skip(reason):
    print(reason, file=sys.stderr)
    sys.exit(SKIP)


def note(text):
    print(text, file=sys.stderr, flush=True)


def emit(bench, figure, value, unit, peer, peer_value, ratio, **context):
    """One line of result. What value, peer_value and ratio mean is in README.md."""
    line = {"bench": bench, "figure": figure, "value": rounded(value), "unit": unit, "peer": peer,
            "peer_value": rounded(peer_value), "ratio": rounded(ratio)}
    line.update({k: rounded(v) for k, v in context.items()})
    print(json.dumps(line), flush=True)


def rounded(value):
    return float(f"{value:.4g}") if isinstance(value, float) else value


def python():
    """The Python that has the engine; installs it if need be."""
    subprocess.run([os.path.join(SUPPORT, "fetch_models.sh"), "engine"], check=True, stdout=sys.stderr)
    return os.path.join(vram_daemon.build_dir(), "venv", "bin", "python")


@contextlib.contextmanager
def work_folder():
    """A folder on a disk for files of many gigabytes, removed afterwards. BENCH_DIR names another place."""
    top = os.environ.get("BENCH_DIR", "/var/tmp")
    path = tempfile.mkdtemp(prefix="vram-bench-", dir=top)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def generated(folder, size):
    """The random model of that size: an existing one in BENCH_MODELS, else made in the folder."""
    kept = os.path.join(os.environ.get("BENCH_MODELS", "/nonexistent"), f"{size}.gguf")
    if os.path.exists(kept):
        return kept
    path = os.path.join(folder, f"{size}.gguf")
    subprocess.run([sys.executable, os.path.join(SUPPORT, "gen_gguf.py"), path, size], check=True, stdout=sys.stderr)
    return path


# ---- the page cache ----------------------------------------------------------


def cached_bytes(path):
    """How much of the file is in the page cache."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    size = os.path.getsize(path)
    fd = os.open(path, os.O_RDONLY)
    addr = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
    os.close(fd)
    n = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE
    vector = ctypes.create_string_buffer(n)
    failed = libc.mincore(addr, size, vector)
    libc.munmap(addr, size)
    if failed:
        raise OSError(ctypes.get_errno(), "mincore")
    return sum(b & 1 for b in vector.raw[:n]) * mmap.PAGESIZE


def drop(path):
    """Take the file out of the page cache, and prove it: a page that is left would be memory beyond the limit."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        for _ in range(5):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            left = cached_bytes(path)
            if left <= 1 * MB:
                return
    finally:
        os.close(fd)
    raise OSError(f"{path}: {left} bytes stay in the page cache")


# ---- memory cgroups ----------------------------------------------------------


class Cgroup:
    """A memory cgroup of a size, of version 1 or 2: with Cgroup("name", limit) as g: Popen(preexec_fn=g.enter)"""

    def __init__(self, name, limit):
        self.limit = limit
        self.path = os.path.join(self.root(), f"vram-bench-{os.getpid()}-{name}")
        self.version = 1 if self.root().endswith("/memory") else 2

    @staticmethod
    def root():
        if os.path.exists("/sys/fs/cgroup/memory/memory.limit_in_bytes") or \
                os.path.exists("/sys/fs/cgroup/memory/memory.use_hierarchy"):
            return "/sys/fs/cgroup/memory"
        return "/sys/fs/cgroup"

    @classmethod
    def usable(cls):
        return os.access(cls.root(), os.W_OK) and os.geteuid() == 0

    def write(self, name, value):
        with open(os.path.join(self.path, name), "w", encoding="ascii") as f:
            f.write(str(value))

    def __enter__(self):
        if self.version == 2:
            with contextlib.suppress(OSError):
                with open(os.path.join(self.root(), "cgroup.subtree_control"), "w", encoding="ascii") as f:
                    f.write("+memory")
        os.mkdir(self.path)
        if self.version == 1:
            self.write("memory.limit_in_bytes", self.limit)
        else:
            self.write("memory.max", self.limit)
            with contextlib.suppress(OSError):
                self.write("memory.swap.max", 0)
        return self

    def __exit__(self, kind, value, trace):
        os.rmdir(self.path)

    def enter(self):
        """In the child, before exec."""
        self.write("cgroup.procs", 0)

    def peak(self):
        name = "memory.max_usage_in_bytes" if self.version == 1 else "memory.peak"
        try:
            with open(os.path.join(self.path, name), encoding="ascii") as f:
                return int(f.read())
        except OSError:
            return None


# ---- fio ---------------------------------------------------------------------


@contextlib.contextmanager
def huge_pages(n):
    """n huge pages beyond what is reserved, given back afterwards. Yields whether there are that many free."""
    path = f"/sys/kernel/mm/hugepages/hugepages-{HUGE_KB}kB/"

    def get(name):
        with open(path + name, encoding="ascii") as f:
            return int(f.read())

    def put(value):
        with open(path + "nr_hugepages", "w", encoding="ascii") as f:
            f.write(str(value))

    before = get("nr_hugepages")
    changed = False
    try:
        if get("free_hugepages") < n:
            with contextlib.suppress(OSError):
                put(before + n)
                changed = True
        yield get("free_hugepages") >= n
    finally:
        if changed:
            put(before)


class Fio:
    """Sequential O_DIRECT reads of a file, 1 MiB blocks, 16 in flight, into huge pages where there are any."""

    DEPTH = 16

    def __init__(self, path, seconds=2.0):
        if not shutil.which("fio"):
            skip("fio is not installed")
        self.path, self.seconds = path, seconds
        self.probes = []
        self.buffers = None

    def probe(self, whole=False):
        """Bytes a second: for a while, or of one pass over the whole file."""
        with huge_pages(2 * self.DEPTH) as huge:
            self.buffers = "2M" if huge else "4K"
            command = ["fio", "--name=probe", f"--filename={self.path}", "--readonly", "--rw=read", "--direct=1",
                       "--bs=1M", f"--iodepth={self.DEPTH}", "--ioengine=io_uring", "--output-format=json",
                       "--iomem=" + ("mmaphuge" if huge else "mmap"), "--invalidate=0"]
            if huge:
                command += [f"--hugepage-size={HUGE_KB}K"]
            if not whole:
                command += ["--time_based", f"--runtime={self.seconds}"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"fio: {done.stderr or done.stdout}")
        rate = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]["read"]["bw_bytes"]
        self.probes.append(rate)
        return float(rate)
