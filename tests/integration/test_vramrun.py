#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""vramrun and its shim: unmodified programs read right bytes within the budget, and are otherwise left alone."""

import ctypes
import mmap
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
import vram_daemon  # noqa: E402

BUDGET = 8 << 20
MODEL = 24 << 20
BIG = 320 << 20
# Chunks smaller than a huge page: without "never" each of them would take a whole one.
SETTINGS = {"device": {"chunk": "256K", "huge": "never"}, "swap": {"size": "0"}}

# What the child program (this file with the argument `child`) finds in its environment.
PATH = "TEST_MODEL"


def word(i):
    return ((i + 1) * 0x9E3779B97F4A7C15 ^ i << 7) & 0xFFFFFFFFFFFFFFFF | 1


def write_model(path, magic=b"GGUF\x03\0\0\0", size=MODEL):
    """Looks like a model from outside; inside, every 4 KiB say where they are."""
    with open(path, "wb") as f:
        for page in range(size // 4096):
            f.write(word(page).to_bytes(8, "little") * 512)
        f.seek(0)
        f.write(magic)


# ---- in the child -----------------------------------------------------------------------

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.mremap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_void_p,
]
for name in ("munmap", "mlock", "munlock", "mlock2", "madvise", "posix_madvise", "mprotect"):
    getattr(libc, name).argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
FAILED = ctypes.c_void_p(-1).value
MAP_POPULATE, MAP_FIXED, MREMAP_MAYMOVE = 0x8000, 0x10, 1
MADV_WILLNEED, MADV_DONTNEED, MADV_POPULATE_READ, MADV_RANDOM = 3, 4, 22, 1


def page_at(addr):
    return int.from_bytes(ctypes.string_at(addr + 8, 8), "little")


def wrong(addr, first_page, n):
    """Pages that are not what the file says; the very first 8 bytes are the magic, hence the offset of 8."""
    return sum(page_at(addr + i * 4096) != word(first_page + i) for i in range(n))


def expect(what, got, wanted):
    if got != wanted:
        print(f"FAILED: {what}: {got!r}, not {wanted!r}")
        sys.exit(3)


def map_model(fd, length=MODEL, flags=mmap.MAP_SHARED, addr=None, offset=0):
    p = libc.mmap(addr, length, mmap.PROT_READ, flags, fd, offset)
    expect("mmap", p != FAILED, True)
    return p


def is_ours(addr):
    """Whether the mapping at addr shows the daemon's memory, and not the file itself."""
    with open("/proc/self/maps", encoding="utf-8") as f:
        for line in f:
            low, high = (int(x, 16) for x in line.split()[0].split("-"))
            if low <= addr < high:
                return os.environ[PATH] not in line
    return None


def child_read(fd):
    p = map_model(fd)
    expect("served", is_ours(p), True)
    for _ in range(3):
        expect("wrong pages", wrong(p, 0, MODEL // 4096), 0)


def child_lock(fd):
    """Calls that would fill the mapping, or keep it: answered, not followed."""
    p = map_model(fd, flags=mmap.MAP_SHARED | MAP_POPULATE)
    expect("mlock", libc.mlock(p, MODEL, 0), 0)
    expect("mlock2", libc.mlock2(p, MODEL, 0), 0)
    expect("munlock", libc.munlock(p, MODEL, 0), 0)
    for advice in (MADV_WILLNEED, MADV_POPULATE_READ, MADV_RANDOM):
        expect("madvise", libc.madvise(p, MODEL, advice), 0)
    expect("posix_madvise", libc.posix_madvise(p, MODEL, 3), 0)
    expect("wrong pages", wrong(p, 0, MODEL // 4096), 0)
    expect("madvise", libc.madvise(p, MODEL, MADV_DONTNEED), 0)
    expect("wrong pages", wrong(p, 0, MODEL // 4096), 0)
    with open("/proc/self/status", encoding="utf-8") as f:
        locked = [line for line in f if line.startswith("VmLck")][0].split()[1]
    expect("locked kB", int(locked), 0)
    expect("mprotect", libc.mprotect(p, 4096, 3), -1)
    expect("its errno", ctypes.get_errno(), 13)
    # Other memory is locked as ever.
    q = libc.mmap(None, 8192, 3, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    expect("mlock elsewhere", libc.mlock(q, 8192, 0), 0)
    with open("/proc/self/status", encoding="utf-8") as f:
        locked = [line for line in f if line.startswith("VmLck")][0].split()[1]
    expect("locked kB elsewhere", int(locked), 8)


def child_fragments(fd):
    """Parts are unmapped, replaced, moved; the rest stays right, what is gone is gone."""
    p = map_model(fd)
    pages = MODEL // 4096
    expect("wrong pages", wrong(p, 0, 64), 0)
    expect("munmap head", libc.munmap(p, 4096 * 5, 0), 0)
    expect("munmap middle", libc.munmap(p + 4096 * 1000, 4096 * 100, 0), 0)
    expect("munmap tail", libc.munmap(p + 4096 * (pages - 7), 4096 * 7, 0), 0)
    expect("munmap twice", libc.munmap(p, 4096 * 5, 0), 0)
    q = libc.mmap(
        p + 4096 * 2000, 4096, 3, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_FIXED, -1, 0
    )
    expect("replaced", q, p + 4096 * 2000)
    ctypes.memset(q, 0x55, 4096)
    expect("before", wrong(p + 4096 * 5, 5, 995), 0)
    expect("between", wrong(p + 4096 * 1100, 1100, 900), 0)
    expect("after", wrong(p + 4096 * 2001, 2001, pages - 7 - 2001), 0)
    expect("own page", page_at(q), 0x5555555555555555)
    expect("gone", is_ours(p), None)
    # A second mapping, of a part, at an odd offset.
    r = map_model(fd, 4096 * 50, mmap.MAP_PRIVATE, None, 4096 * 777)
    expect("part served", is_ours(r), True)
    expect("part", wrong(r, 777, 50), 0)
    s = libc.mremap(r, 4096 * 50, 4096 * 80, MREMAP_MAYMOVE, None)
    expect("mremap", s != FAILED, True)
    expect("grown", wrong(s, 777, 80), 0)
    expect("cut", libc.mremap(s, 4096 * 80, 4096 * 10, 0, None), s)
    expect("rest", wrong(s, 777, 10), 0)
    expect("cut off", is_ours(s + 4096 * 10), None)
    # Placed by the program, over something else.
    t = libc.mmap(None, 4096 * 20, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    expect("placed", map_model(fd, 4096 * 20, mmap.MAP_SHARED | MAP_FIXED, t, 4096 * 333), t)
    expect("placed pages", wrong(t, 333, 20), 0)
    for addr, n in ((s, 10), (t, 20), (p, pages)):
        expect("munmap", libc.munmap(addr, 4096 * n, 0), 0)
    u = map_model(fd)
    expect("mapped anew", wrong(u, 0, pages), 0)


def child_fork(fd):
    p = map_model(fd)
    pages = MODEL // 4096
    expect("wrong pages", wrong(p, 0, 100), 0)
    pid = os.fork()
    if pid == 0:
        expect("in the child", wrong(p, 0, pages), 0)
        grandchild = os.fork()
        if grandchild == 0:
            expect("in the grandchild", wrong(p, 0, pages), 0)
            # Forked, never connected, gone.
            if os.fork() == 0:
                os._exit(0)
            os._exit(0 if os.wait()[1] == 0 else 6)
        expect("grandchild", os.waitpid(grandchild, 0)[1], 0)
        expect("in the child, later", wrong(p, 0, pages), 0)
        expect("munmap in the child", libc.munmap(p, MODEL, 0), 0)
        os._exit(0)
    expect("meanwhile", wrong(p, 0, pages), 0)
    expect("child", os.waitpid(pid, 0)[1], 0)
    expect("afterwards", wrong(p, 0, pages), 0)
    # exec: the new program is served as well.
    os.execv(sys.executable, [sys.executable, __file__, "child", "read"])


def child_restart(fd):
    """Reads until told to stop, so that the daemon can be killed meanwhile."""
    p = map_model(fd)
    pid = os.fork() if os.environ.get("TEST_FORK") else 0
    rounds = 0
    print("reading", flush=True)
    while not os.path.exists(os.environ[PATH] + ".stop"):
        for start in range(0, MODEL // 4096, 512):
            expect("wrong pages", wrong(p + start * 4096, start, 512), 0)
        rounds += 1
    if pid:
        expect("child", os.waitpid(pid, 0)[1], 0)
    print(f"rounds {rounds}", flush=True)


def child_close_all(fd):
    """As a program does that becomes a daemon; what it has opened itself is closed, what is ours is not."""
    p = map_model(fd)
    expect("before", wrong(p, 0, 64), 0)
    low = os.open("/dev/null", os.O_RDONLY)
    for n in range(3, 300):
        if n != fd:
            libc.close(n)
    try:
        os.fstat(low)
        expect("its own is closed", False, True)
    except OSError:
        pass
    expect("after close", wrong(p, 0, MODEL // 4096), 0)
    libc.closefrom(3)
    expect("after closefrom", wrong(p, 0, MODEL // 4096), 0)
    expect("close_range", libc.close_range(3, 4000, 0), 0)
    expect("after close_range", wrong(p, 0, MODEL // 4096), 0)


def child_plain(fd):
    p = map_model(fd)
    expect("served", is_ours(p), False)
    expect("wrong pages", wrong(p, 0, MODEL // 4096), 0)


def child_copy(fd):
    """An engine that repacks: maps the model, copies it, and holds on to the copy."""
    p = map_model(fd, BIG)
    copy = ctypes.string_at(p, BIG)
    time.sleep(5)
    print(len(copy))


def child_slurp(fd):
    """An engine that does not map."""
    with os.fdopen(os.dup(fd), "rb") as f:
        print(len(f.read()))


def child():
    fd = os.open(os.environ[PATH], os.O_RDONLY)
    globals()["child_" + sys.argv[2]](fd)
    print("done", flush=True)


# ---- the tests --------------------------------------------------------------------------

failures = []


def check(what, condition, detail=""):
    print(
        ("ok    " if condition else "FAILED") + f" {what}" + ("" if condition else f": {detail}"),
        flush=True,
    )
    if not condition:
        failures.append(what)


class World:
    def __init__(self, daemon, folder):
        self.daemon, self.folder = daemon, folder
        self.model = os.path.join(folder, "model.gguf")
        self.vramrun = os.path.join(daemon.build, "vramrun")
        write_model(self.model)

    def run(self, what, options=(), model=None, socket=None, timeout=120, **more):
        command = [
            self.vramrun,
            "--socket",
            socket or self.daemon.socket,
            *options,
            sys.executable,
            os.path.abspath(__file__),
            "child",
            what,
        ]
        env = dict(os.environ, **{PATH: model or self.model})
        return subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=timeout, **more
        )

    def raw(self, command, options=(), **more):
        return subprocess.run(
            [self.vramrun, "--socket", self.daemon.socket, *options, *command],
            capture_output=True,
            text=True,
            timeout=60,
            **more,
        )


def passed(what, done, words=()):
    ok = (
        done.returncode == 0
        and done.stdout.endswith("done\n")
        and all(w in done.stderr for w in words)
    )
    check(what, ok, f"rc {done.returncode}\n{done.stdout[-500:]}\n{done.stderr[-1500:]}")


def test_models(w):
    for what in ("read", "lock", "fragments", "close_all", "fork"):
        done = w.run(what)
        passed(f"{what}: right bytes, silent", done)
        check(f"{what}: nothing on stderr", done.stderr == "", done.stderr)
    peak = w.daemon.memory_now()
    check("memory within the budget", peak is None or peak <= BUDGET, peak)
    done = w.run("read", ["-v", "--stats"])
    passed("verbose and statistics", done, ["model.gguf is served", "loaded"])
    safetensors = os.path.join(w.folder, "model.bin")
    write_model(safetensors, (64).to_bytes(8, "little") + b'{"')
    # The head is not the whole of a header: page 0 says something else than its word.
    passed(
        "safetensors, known by content",
        w.run("restart", ["-v"], model=make_stop(safetensors)),
        ["model.bin is served"],
    )
    other = os.path.join(w.folder, "other.gguf")
    write_model(other, b"MZ\0\0\0\0\0\0")
    passed("another file with a model's name", w.run("plain", model=other))


def make_stop(path):
    with open(path + ".stop", "w", encoding="utf-8"):
        return path


def test_transparent(w):
    check("exit status", w.raw(["sh", "-c", "exit 37"]).returncode == 37)
    check("signal", w.raw(["sh", "-c", "kill -SEGV $$"]).returncode == -signal.SIGSEGV)
    check("stdin", w.raw(["cat"], input="through\n").stdout == "through\n")
    check("arguments", w.raw(["printf", "%s|", "a b", "-v", "--"]).stdout == "a b|-v|--|")
    check("options end", w.raw(["--", "echo", "x"]).stdout == "x\n")
    check("not found", w.raw(["vram-no-such-program"]).returncode == 127)
    check("not runnable", w.raw([w.folder]).returncode == 126)
    check("usage", w.raw([]).returncode == 2 and w.raw(["echo"], ["--nonsense"]).returncode == 2)
    done = w.raw([], ["--help"])
    check("help", done.returncode == 0 and done.stdout.startswith("Usage: vramrun"), done.stderr)
    check("version", w.raw([], ["--version"]).stdout.startswith("vramrun "))
    # A child of a shell is served too.
    done = w.raw(
        ["sh", "-c", f"{PATH}={w.model} {sys.executable} {os.path.abspath(__file__)} child read"]
    )
    passed("child of a shell", done)


def test_without_daemon(w):
    nowhere = os.path.join(w.folder, "nowhere")
    done = w.run("plain", socket=nowhere)
    passed("no daemon: plain mmap", done, ["cannot reach vramd", "plain mmap"])
    check("no daemon: one line", done.stderr.count("\n") == 1, done.stderr)
    done = w.run("plain", ["--quiet"], socket=nowhere)
    passed("no daemon, quiet", done)
    check("no daemon, quiet: silent", done.stderr == "", done.stderr)
    done = w.run("plain", ["--require"], socket=nowhere)
    check(
        "no daemon, required",
        done.returncode == 125 and done.stdout == "" and "cannot reach" in done.stderr,
        done.stderr,
    )
    passed("required, and there", w.run("read", ["--require"]))


def test_unservable(w):
    static = os.path.join(w.folder, "static")
    built = (
        shutil.which("gcc")
        and subprocess.run(
            ["gcc", "-static", "-o", static, "-x", "c", "-"],
            input="int main(void) { return 9; }",
            text=True,
            capture_output=True,
            check=False,
        ).returncode
        == 0
    )
    if built:
        done = w.raw([static])
        check(
            "static: said, and run",
            done.returncode == 9 and "statically linked" in done.stderr,
            done.stderr,
        )
        done = w.raw([static], ["--require"])
        check(
            "static, required",
            done.returncode == 125 and "statically linked" in done.stderr,
            done.stderr,
        )
        check("static, quiet", w.raw([static], ["--quiet"]).stderr == "")
    else:
        print("skip   static programs: cannot build one")
    if os.geteuid() == 0:
        suid = os.path.join(w.folder, "suid")
        shutil.copy("/bin/true", suid)
        os.chown(suid, 12345, -1)
        os.chmod(suid, 0o755 | stat.S_ISUID)
        done = w.raw([suid])
        check(
            "set-user-ID: said, and run",
            done.returncode == 0 and "set-user-ID" in done.stderr,
            done.stderr,
        )
    else:
        print("skip   set-user-ID programs: not root")
    # The path of its dynamic linker, changed to another of the same length.
    musl = os.path.join(w.folder, "musl")
    with open("/bin/true", "rb") as f:
        image = f.read()
    at = image.find(b"/lib64/ld-linux-")
    if at >= 0:
        end = image.index(b"\0", at)
        name = b"/lib/ld-musl".ljust(end - at, b"x")
        with open(musl, "wb") as f:
            f.write(image[:at] + name + image[end:])
        os.chmod(musl, 0o755)
        done = w.raw([musl])
        check("another C library: said", "musl" in done.stderr, done.stderr)
    foreign = os.path.join(w.folder, "foreign")
    with open("/bin/true", "rb") as f:
        image = bytearray(f.read())
    image[18] ^= 0x55  # e_machine
    with open(foreign, "wb") as f:
        f.write(image)
    os.chmod(foreign, 0o755)
    done = w.raw([foreign])
    check("another architecture: said", "another architecture" in done.stderr, done.stderr)


def test_complaints(w):
    big = os.path.join(w.folder, "big.gguf")
    with open(big, "wb") as f:
        f.write(b"GGUF\x03\0\0\0")
        f.truncate(BIG)
    done = w.run("copy", model=big)
    passed("a copy of the weights: said", done, ["--no-repack"])
    check("said once", done.stderr.count("\n") == 1, done.stderr)
    done = w.run("slurp", model=big)
    passed("not mapped: said", done, ["--no-mmap"])
    check("a reader of a little: silent", w.raw(["head", "-c", "5", big]).stderr == "")
    check("copying: silent", w.raw(["cp", big, big + ".copy"]).stderr == "")


def test_restart(w, fork):
    """kill -9, restart, and all over: the program waits, and reads right bytes."""
    model = os.path.join(w.folder, "restart.gguf")
    write_model(model)
    if os.path.exists(model + ".stop"):
        os.unlink(model + ".stop")
    env = dict(os.environ, **{PATH: model})
    if fork:
        env["TEST_FORK"] = "1"
    program = subprocess.Popen(
        [
            w.vramrun,
            "--socket",
            w.daemon.socket,
            "-n",
            "reader",
            sys.executable,
            os.path.abspath(__file__),
            "child",
            "restart",
        ],
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    program.stdout.readline()
    for i in range(5):
        time.sleep(0.7)
        w.daemon.process.kill()
        w.daemon.process.wait()
        time.sleep(0.3 * (i % 3))
        if program.poll() is not None:
            break
        os.unlink(w.daemon.socket)
        w.daemon.__enter__()
    time.sleep(1)
    make_stop(model)
    try:
        out, err = program.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        program.kill()
        out, err = program.communicate()
    ok = program.returncode == 0 and out.endswith("done\n")
    check(
        f"daemon killed five times{', with a forked child' if fork else ''}",
        ok,
        f"rc {program.returncode} {out[-500:]} {err[-1500:]}",
    )
    check("said so", "vramd has gone" in err and "vramd is back" in err, err)
    names = [c.get("name") for c in w.daemon.ask("clients").get("clients", [])]
    check("nobody is left", "reader" not in names, names)


def main():
    for name in vram_daemon.missing(["vramd", "vramrun", "vramctl", "libvram-preload.so"]):
        print(f"SKIP: {name} is not built")
        return 77
    folder = tempfile.mkdtemp(prefix="vram-vramrun-", dir="/var/tmp")
    try:
        with vram_daemon.Daemon(str(BUDGET), SETTINGS) as daemon:
            w = World(daemon, folder)
            test_models(w)
            test_transparent(w)
            test_without_daemon(w)
            test_unservable(w)
            test_complaints(w)
            test_restart(w, False)
            test_restart(w, True)
            check("the daemon lives", daemon.alive(), daemon.log())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "child":
        child()
    else:
        sys.exit(main())
