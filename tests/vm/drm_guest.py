#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""`vramctl devices` on a real kernel's GPUs: virtio-gpu, a PCI device, and vgem, which has no hardware at all. On
kernels whose DRM core writes memory figures also drm_vram, which lets it write them (tests/vm/drm).

Runs as root in the guest of check_drm.sh; what it expects of the kernel it reads from the kernel's files.
"""

import ctypes
import fcntl
import glob
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import unittest

if not os.environ.get("VRAM_GUEST"):
    print("loads kernel modules: run by tests/vm/check_drm.sh in a guest")
    sys.exit(77)

sys.path.insert(0, os.path.join(os.environ["VRAM_SRC"], "tests", "support"))
import vram_daemon  # noqa: E402

VRAMCTL = os.path.join(os.environ["VRAM_BUILD"], "vramctl")
MODULES = os.environ["VRAM_GUEST_MODULES"]
NOBODY = 65534
CREATE_DUMB = 0xC02064B2  # DRM_IOCTL_MODE_CREATE_DUMB
PR_SET_DUMPABLE = 4
SIZE = 1024
DRIVERS = ("virtio_gpu", "vgem")


def load(module):
    subprocess.run(["modprobe", "-d", MODULES, module], check=True, timeout=120)


def nodes_of(driver):
    """Primary and render node of the card that this driver has."""
    for card in sorted(glob.glob("/sys/class/drm/card[0-9]*")):
        device = os.path.realpath(os.path.join(card, "device"))
        # The PCI device has the driver virtio-pci, and a device with the real one below it.
        links = [os.path.join(device, "driver"), *glob.glob(device + "/virtio[0-9]*/driver")]
        names = [os.path.basename(os.readlink(link)) for link in links if os.path.islink(link)]
        if driver in [*names, os.path.basename(device)] and "-" not in os.path.basename(card):
            found = ["/dev/dri/" + os.path.basename(card)]
            return found + [
                "/dev/dri/" + os.path.basename(r) for r in glob.glob(device + "/drm/renderD*")
            ]
    return []


def devices(*args, as_user=None):
    def change():
        os.setgroups([])
        os.setgid(as_user)
        os.setuid(as_user)

    with tempfile.TemporaryDirectory() as empty:
        os.chmod(empty, 0o755)
        done = subprocess.run(
            [VRAMCTL, *args, "devices"],
            env={**os.environ, "XDG_RUNTIME_DIR": empty},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
            preexec_fn=change if as_user is not None else None,
        )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def gpus(**how):
    answer = json.loads(devices("-j", **how))
    return answer, {gpu["driver"]: gpu for gpu in answer["gpus"]}


def fdinfo(pid, fd):
    with open(f"/proc/{pid}/fdinfo/{fd}", encoding="utf-8") as f:
        return dict(re.split(r":\s*", line.rstrip("\n"), maxsplit=1) for line in f if ":" in line)


def size(text):
    number, _, unit = text.partition(" ")
    return int(number) << {"": 0, "KiB": 10, "MiB": 20}[unit.strip()]


def make_buffer(fd):
    dumb = struct.pack("=IIIIIIQ", SIZE, SIZE, 32, 0, 0, 0, 0)
    made = struct.unpack("=IIIIIIQ", fcntl.ioctl(fd, CREATE_DUMB, dumb))
    assert made[6] == SIZE * SIZE * 4, made


class Holder:
    """A process that has nodes open, and a buffer in each primary one."""

    def __init__(self, nodes, uid=0, twice=False):
        assert nodes, "no nodes"
        ready, told = os.pipe()
        wait, self.end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.end)
            try:
                files = [os.open(node, os.O_RDWR) for node in nodes]
                for node, fd in zip(nodes, files):
                    if "/card" in node:
                        make_buffer(fd)
                if twice:
                    files += [os.dup(fd) for fd in files]
                with open("/proc/self/comm", "w", encoding="utf-8") as f:
                    f.write("holder")
                if uid:
                    os.setgid(uid)
                    os.setuid(uid)
                    # Changing the user closes a process to the new one, too, unless it says otherwise.
                    assert ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0
                os.write(told, struct.pack("=" + "i" * len(files), *files))
                os.read(wait, 1)
            finally:
                os._exit(0)
        os.close(told)
        os.close(wait)
        text = os.read(ready, 4096)
        os.close(ready)
        assert text, "the holder cannot open the nodes or make a buffer"
        self.files = struct.unpack("=" + "i" * (len(text) // 4), text)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.end)
        os.waitpid(self.pid, 0)


class Devices(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for module in ("virtio-gpu", "vgem"):
            load(module)
        cls.nodes = {driver: nodes_of(driver) for driver in DRIVERS}
        print("nodes:", cls.nodes, flush=True)
        assert all(cls.nodes.values()), cls.nodes

    def test_both_are_listed(self):
        answer, found = gpus()
        self.assertEqual(answer["devices"], [])
        self.assertIsNone(answer["nvml"])
        self.assertEqual(len(self.nodes["virtio_gpu"]), 2)
        for driver in DRIVERS:
            self.assertEqual(sorted(found[driver]["nodes"]), sorted(self.nodes[driver]))
            self.assertEqual(found[driver]["processes"], [])
            self.assertIsNone(found[driver]["device"])
        virtio = found["virtio_gpu"]
        device = "/sys/bus/pci/devices/" + virtio["pci"]
        with open(device + "/vendor", encoding="utf-8") as f:
            self.assertEqual(virtio["vendor_id"], int(f.read(), 16))
        with open(device + "/device", encoding="utf-8") as f:
            self.assertEqual(virtio["device_id"], int(f.read(), 16))
        self.assertEqual((virtio["bus"], virtio["vendor_id"]), ("pci", 0x1AF4))

    def test_who_has_it_open(self):
        for driver in DRIVERS:
            # Newer kernels give vgem no render node.
            choices = [self.nodes[driver], self.nodes[driver][1:], self.nodes[driver][:1]]
            for nodes in filter(None, choices):
                with self.subTest(driver=driver, nodes=nodes), Holder(nodes) as holder:
                    _, found = gpus()
                    (process,) = found[driver]["processes"]
                    self.assertEqual(process["pid"], holder.pid)
                    self.assertEqual((process["comm"], process["uid"], process["user"]), ("holder", 0, "root"))
                    self.assertFalse(process["vramd"])
                    # Up to Linux 7.2 these two drivers do not say.
                    self.assertNotIn("drm-driver", fdinfo(holder.pid, holder.files[0]))
                    self.assertIsNone(process["vram_bytes"])
                    others = [d for d in DRIVERS if d != driver]
                    self.assertEqual([found[d]["processes"] for d in others], [[]] * len(others))
                    row = [line.split() for line in devices().splitlines() if f" {holder.pid} " in line]
                    self.assertEqual((row[0][3], row[0][-1]), ("holder", "outside"))
                _, found = gpus()
                self.assertEqual(found[driver]["processes"], [])

    def test_other_users_see_their_own(self):
        with Holder(self.nodes["virtio_gpu"]) as roots, Holder(self.nodes["virtio_gpu"], uid=NOBODY) as own:
            answer, found = gpus(as_user=NOBODY)
            self.assertEqual([p["pid"] for p in found["virtio_gpu"]["processes"]], [own.pid])
            self.assertGreater(answer["hidden_processes"], 1)
            self.assertIn("root sees all", devices(as_user=NOBODY))
            answer, found = gpus()
            self.assertEqual(answer["hidden_processes"], 0)
            self.assertEqual(
                {p["pid"]: p["uid"] for p in found["virtio_gpu"]["processes"]},
                {roots.pid: 0, own.pid: NOBODY},
            )

    def test_beside_a_daemon(self):
        with vram_daemon.Daemon("64M") as daemon, Holder(self.nodes["virtio_gpu"]):
            answer = daemon.ask("devices")
            self.assertEqual([d["budget_bytes"] for d in answer["devices"]], [64 << 20])
            virtio = [g for g in answer["gpus"] if g["driver"] == "virtio_gpu"]
            self.assertEqual(len(virtio[0]["processes"]), 1)
            # The host device is no GPU.
            self.assertIsNone(virtio[0]["device"])
            daemon.stop()


@unittest.skipUnless(os.environ.get("VRAM_KO"), "this kernel's DRM core writes no memory figures")
class Memory(unittest.TestCase):
    """What the DRM core writes for files with buffers, and what vramctl makes of it."""

    @classmethod
    def setUpClass(cls):
        load("drm_shmem_helper")
        subprocess.run(["insmod", os.environ["VRAM_KO"]], check=True, timeout=60)
        cls.primary, cls.render = nodes_of("drm_vram")

    def processes(self):
        _, found = gpus()
        return {process["pid"]: process for process in found["drm_vram"]["processes"]}

    def test_written_and_read(self):
        with Holder([self.primary, self.render]) as holder:
            texts = [fdinfo(holder.pid, fd) for fd in holder.files]
            print("fdinfo:", texts, flush=True)
            for text, expected in zip(texts, (SIZE * SIZE * 4, 0)):
                self.assertEqual(text["drm-driver"], "drm_vram")
                self.assertEqual(size(text["drm-resident-vram0"]), expected)
                self.assertEqual(size(text["drm-total-memory"]), expected)
            self.assertNotEqual(texts[0]["drm-client-id"], texts[1]["drm-client-id"])
            process = self.processes()[holder.pid]
            self.assertEqual(process["vram_bytes"], SIZE * SIZE * 4)
            self.assertEqual(process["other_bytes"], SIZE * SIZE * 4)
            self.assertEqual((process["files"], process["shared_bytes"]), (2, 0))
            row = [line.split() for line in devices().splitlines() if f" {holder.pid} " in line]
            self.assertEqual(row[0][4:7], ["4M", "4M", "0B"])
        self.assertEqual(self.processes(), {})

    def test_duplicates_count_once(self):
        with Holder([self.primary, self.render], twice=True) as holder:
            process = self.processes()[holder.pid]
            self.assertEqual((process["files"], process["vram_bytes"]), (2, SIZE * SIZE * 4))

    def test_inherited_file_counts_once(self):
        mine = os.open(self.primary, os.O_RDWR)
        try:
            for _ in range(3):
                make_buffer(mine)
            with Holder([self.render]) as child:
                found = self.processes()
                self.assertEqual(set(found), {os.getpid(), child.pid})
                parent = found[os.getpid()]
                self.assertEqual((parent["files"], parent["vram_bytes"]), (1, 3 * SIZE * SIZE * 4))
                self.assertEqual((found[child.pid]["files"], found[child.pid]["vram_bytes"]), (1, 0))
        finally:
            os.close(mine)


if __name__ == "__main__":
    unittest.main()
