#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""At quiet points everybody says the same: vramctl (status, clients, models, limit show, pressure, metrics), the
snapshot, vramtop, the clients' own statistics, and with the kernel module its debugfs. To the byte."""

import ctypes
import json
import os
import re
import subprocess
import sys
import time
import unittest

SRC, BUILD, TMP = os.environ["VRAM_SRC"], os.environ["VRAM_BUILD"], os.environ["TEST_TMP"]
sys.path.insert(0, os.path.join(SRC, "tests", "support"))
import vram_daemon  # noqa: E402
import vram_wire  # noqa: E402

DEBUGFS = "/sys/kernel/debug/vram"
TIERS = ("vram", "host", "disk")
LAYER, LAYERS = 512 << 10, 12
SETTINGS = {
    "device": {"link": "8G/s", "host_budget": "4M"},
    "swap": {"size": "32M"},
    "policy": {"keep": "0"},
}


class Extent(ctypes.Structure):
    _fields_ = [("offset", ctypes.c_uint64), ("length", ctypes.c_uint64), ("layer", ctypes.c_uint32),
                ("reserved", ctypes.c_uint32)]


class Stats(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in (
        "resident_bytes", "charged_bytes", "total_bytes", "loaded_bytes", "evicted_bytes", "faults", "stall_ns",
        "budget_bytes", "limit_bytes")]


class Library:
    """libvram itself: with the module only it can hand a session over."""

    def __init__(self):
        self.lib = ctypes.CDLL(os.path.join(BUILD, "libvram.so.0"))
        for name in ("vram_error_text", "vram_model_layer", "vram_buffer_layer", "vram_buffer_ptr"):
            getattr(self.lib, name).restype = ctypes.c_void_p
        self.lib.vram_error_text.restype = ctypes.c_char_p

    def check(self, r):
        assert r == 0, (r, self.lib.vram_error_text())


class Client:
    def __init__(self, library, path, name):
        self.lib, self.check = library.lib, library.check
        self.handle = ctypes.c_void_p()
        self.check(self.lib.vram_connect(path.encode(), name.encode(), 0, ctypes.byref(self.handle)))
        self.name = name
        self.acquires = 0
        self.models, self.buffers = [], []

    def model(self, file, layers=LAYERS):
        extents = (Extent * layers)(*[Extent(i * LAYER, LAYER, i, 0) for i in range(layers)])
        model = ctypes.c_void_p()
        fd = os.open(file, os.O_RDONLY)
        self.check(self.lib.vram_model_open_extents(
            self.handle, fd, os.path.basename(file).encode(), layers, extents, ctypes.c_size_t(layers),
            ctypes.byref(model)))
        os.close(fd)
        self.models.append(model)
        return [ctypes.c_void_p(self.lib.vram_model_layer(model, i)) for i in range(layers)]

    def buffer(self, layers):
        buffer = ctypes.c_void_p()
        self.check(self.lib.vram_buffer_new(self.handle, b"kv", ctypes.c_uint64(layers * LAYER),
                                            ctypes.c_uint64(LAYER), ctypes.byref(buffer)))
        self.buffers.append(buffer)
        ptr = self.lib.vram_buffer_ptr(buffer)
        return ptr, [ctypes.c_void_p(self.lib.vram_buffer_layer(buffer, i)) for i in range(layers)]

    def use(self, layers, write_at=None):
        for i, layer in enumerate(layers):
            self.check(self.lib.vram_layer_acquire(layer, ctypes.c_int64(-1)))
            self.acquires += 1
            if write_at:
                ctypes.memset(write_at + i * LAYER, i + 1, LAYER)
            self.lib.vram_layer_release(layer)

    def stats(self):
        stats = Stats()
        self.check(self.lib.vram_client_stats(self.handle, ctypes.byref(stats)))
        return {name: getattr(stats, name) for name, _ in Stats._fields_}

    def close(self):
        for model in self.models:
            self.lib.vram_model_close(model)
        for buffer in self.buffers:
            self.lib.vram_buffer_free(buffer)
        self.lib.vram_close(self.handle)


def metrics_of(text):
    """{(name, labels without the device): value}"""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line).groups()
        pairs = tuple(sorted(p for p in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or "") if p[0] != "device"))
        assert (name, pairs) not in found, line
        found[name, pairs] = value
    return found


def debugfs_groups():
    """{(group, tier): {key: value}}"""
    found = {}
    with open(os.path.join(DEBUGFS, "groups"), encoding="utf-8") as f:
        for line in f:
            name, *fields = line.split()
            values = dict(field.split("=", 1) for field in fields)
            found[name, values["tier"]] = values
    return found


def debugfs_pressure():
    found, name = {}, None
    with open(os.path.join(DEBUGFS, "pressure"), encoding="utf-8") as f:
        for line in f:
            match = re.match(r"(some|full) .* total=(\d+)", line)
            if match:
                found[name][match.group(1)] = int(match.group(2))
            else:
                name = line.strip()
                found[name] = {}
    return found


class Numbers(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.daemon = vram_daemon.Daemon("4M", {k: dict(v) for k, v in SETTINGS.items()})
        self.daemon.__enter__()
        self.addCleanup(self.daemon.__exit__, None, None, None)
        self.library = Library()
        self.clients = []
        self.files = [self.file(f"model-{i}") for i in range(2)]

    def tearDown(self):
        for client in self.clients:
            client.close()
        self.daemon.check()

    def file(self, name):
        path = os.path.join(TMP, name)
        with open(path, "wb") as f:
            f.write(os.urandom(1 << 16) * (LAYERS * LAYER >> 16))
        return path

    def client(self, name):
        self.clients.append(Client(self.library, self.daemon.socket, name))
        return self.clients[-1]

    def vramctl(self, *args, parse=True):
        done = subprocess.run([os.path.join(BUILD, "vramctl"), "--socket", self.daemon.socket, *args],
                              capture_output=True, text=True, timeout=60, check=True)
        return json.loads(done.stdout) if parse else done.stdout

    def snapshot(self):
        with vram_wire.Client(self.daemon.socket) as admin:
            admin.hello(flags=vram_wire.HELLO_ADMIN)
            return admin.admin({"command": "snapshot"})

    @staticmethod
    def still(snapshot):
        """What does not change while nothing happens."""
        text = json.dumps({k: v for k, v in snapshot.items() if k not in ("time_ns", "uptime_ns")})
        return re.sub(r'"(avg\d+|position|pace_ns_per_pass)": [^,}]*|"state": "\w+"', "", text)

    def quiet(self):
        """Waits until nothing moves, and returns a snapshot of that."""
        last = self.snapshot()
        for _ in range(600):
            time.sleep(0.1)
            now = self.snapshot()
            if self.still(now) == self.still(last) and now["devices"][0]["inflight_bytes"] == 0:
                return now
            last = now
        self.fail("never quiet")

    def compare(self):
        """All that there is, at a quiet point. Return: the snapshot."""
        # What is done for clients that have gone idle is done seconds later: then it was not quiet after all.
        for _ in range(30):
            snapshot = self.quiet()
            said = {name: self.vramctl("-j", name) for name in ("status", "clients", "models", "pressure")}
            said["limits"] = self.vramctl("-j", "limit", "show")
            metrics = metrics_of(self.vramctl("metrics", parse=False))
            own = [client.stats() for client in self.clients]
            module = (debugfs_groups(), debugfs_pressure()) if vram_daemon.wants_module() else None
            top = self.top()
            if self.still(snapshot) == self.still(self.snapshot()):
                break
        else:
            self.fail("never quiet for long enough to look")

        device = snapshot["devices"][0]
        self.compare_device(device, said["status"], metrics, top["devices"][0])
        self.compare_sessions(snapshot["sessions"], said["clients"]["clients"], metrics, top["sessions"], own)
        self.compare_models(snapshot["models"], said["models"]["models"], metrics, top["models"])
        self.compare_tenants(snapshot["tenants"], said["limits"]["limits"], metrics, top["tenants"])
        self.compare_pressure(snapshot, said["pressure"], metrics)
        self.compare_sums(snapshot)
        if module:
            self.compare_module(snapshot, *module)
        return snapshot

    def top(self):
        vramtop = os.path.join(BUILD, "vramtop")
        done = subprocess.run([vramtop, "--socket", self.daemon.socket, "--batch", "--json", "-n", "1", "-d", "0.1"],
                              capture_output=True, text=True, timeout=60, check=True)
        return json.loads(done.stdout)

    def agree(self, wanted, *others):
        for other in others:
            self.assertEqual(str(wanted), str(other))

    def seconds(self, ns, text):
        self.assertEqual(ns, round(float(text) * 1e9), text)

    def compare_device(self, device, status, metrics, top):
        old = status["devices"][0]
        for tier, used, size in (("vram", "resident_bytes", "budget_bytes"), ("host", "host_used_bytes",
                                 "host_budget_bytes"), ("disk", "swap_used_bytes", "swap_size_bytes")):
            labels = (("tier", tier),)
            self.agree(device["tiers"][tier]["used_bytes"], old[used], top["tiers"][tier]["used_bytes"],
                       metrics["vram_tier_used_bytes", labels])
            self.agree(device["tiers"][tier]["size_bytes"], old[size], top["tiers"][tier]["size_bytes"],
                       metrics["vram_tier_size_bytes", labels])
        for key in ("paged_in_bytes", "paged_out_bytes", "evicted_bytes", "faults"):
            self.agree(device[key], status[key], top[key], metrics[f"vram_{key}_total", ()])
        self.agree(device["peak_bytes"], old["peak_bytes"], top["peak_bytes"], metrics["vram_device_peak_bytes", ()])
        self.agree(device["stall_ns"], status["stall_ns"], top["stall_ns"])
        self.seconds(device["stall_ns"], metrics["vram_stall_seconds_total", ()])

    def compare_sessions(self, sessions, clients, metrics, top, own):
        self.assertEqual(len(sessions), len(self.clients))
        for session, old, shown, client, stats in zip(sessions, clients, top, self.clients, own, strict=True):
            labels = (("session", str(session["id"])),)
            self.agree(session["id"], old["id"], shown["id"])
            self.assertEqual((session["name"], session["pid"]), (client.name, os.getpid()))
            vram = session["tiers"]["vram"]
            for key in ("resident_bytes", "charged_bytes"):
                self.agree(vram[key], old[key], stats[key], shown["tiers"]["vram"][key])
                for tier in TIERS:
                    self.agree(session["tiers"][tier][key], shown["tiers"][tier][key],
                               metrics[f"vram_session_{key}", (*labels, ("tier", tier))])
            for key in ("total_bytes", "loaded_bytes", "evicted_bytes", "faults", "stall_ns", "limit_bytes"):
                self.agree(session[key], old[key], stats[key], shown[key])
            # The clients have counted, too.
            self.agree(client.acquires, session["acquires"], old["acquires"], shown["acquires"])
            for key in ("acquires", "faults", "loaded_bytes", "evicted_bytes", "written_bytes"):
                self.agree(session[key], metrics[f"vram_session_{key}_total", labels])
            self.agree(session["total_bytes"], metrics["vram_session_object_bytes", labels])
            self.agree(session["limit_bytes"], metrics["vram_session_limit_bytes", labels])
            self.seconds(session["stall_ns"], metrics["vram_session_stall_seconds_total", labels])

    def compare_models(self, models, old, metrics, top):
        for model, was, shown in zip(models, old, top, strict=True):
            self.agree(model["name"], was["name"], shown["name"])
            for key in ("size_bytes", "loaded_bytes", "evicted_bytes", "pinned"):
                self.agree(model[key], was[key], shown[key])
            self.agree(model["sessions"], was["clients"], shown["sessions"])
            self.agree(model["tiers"]["vram"]["resident_bytes"], was["resident_bytes"])
            self.agree(model["tiers"], was["tiers"], shown["tiers"])
            if model["kind"] == "buffer":
                continue
            labels = (("model", model["name"]),)
            self.agree(model["size_bytes"], metrics["vram_model_size_bytes", labels])
            for tier in TIERS:
                self.agree(model["tiers"][tier]["resident_bytes"],
                           metrics["vram_model_resident_bytes", (*labels, ("tier", tier))])
            for key in ("loaded_bytes", "evicted_bytes"):
                self.agree(model[key], metrics[f"vram_model_{key}_total", labels])

    def compare_tenants(self, tenants, limits, metrics, top):
        rows = {(row["subject"], row["tier"]): row for row in limits if "usage_bytes" in row}
        shown = {tenant["subject"]: tenant for tenant in top}
        users = 0
        for tenant in tenants:
            users += tenant["kind"] == "user"
            for tier in TIERS:
                values = tenant["tiers"][tier]
                labels = (("subject", tenant["subject"]), ("tier", tier))
                row = rows.get((tenant["subject"], tier))
                self.assertTrue(row or tenant["kind"] != "user", tenant["subject"])
                for key in ("usage_bytes", "peak_bytes", "refused", "min", "low", "high", "max", "weight"):
                    self.agree(values[key], shown[tenant["subject"]]["tiers"][tier][key], *([row[key]] if row else []))
                self.agree(values["usage_bytes"], metrics["vram_tenant_usage_bytes", labels])
                self.agree(values["peak_bytes"], metrics["vram_tenant_peak_bytes", labels])
                self.agree(values["refused"], metrics["vram_tenant_refused_total", labels])
                self.agree(values["weight"], metrics["vram_tenant_weight", labels])
                for key in ("min", "low", "high", "max"):
                    limit = metrics.get(("vram_tenant_limit_bytes", tuple(sorted((*labels, ("limit", key))))), "max")
                    self.agree(values[key], limit)
        self.assertGreaterEqual(users, 1)

    def compare_pressure(self, snapshot, pressure, metrics):
        rows = {row["subject"]: row for row in pressure["groups"]}
        rows["device"] = pressure["devices"][0]
        about = [("device", "", (), snapshot["devices"][0])]
        about += [(t["subject"], "tenant_", (("subject", t["subject"]),), t) for t in snapshot["tenants"]]
        about += [(f"session:{s['id']}", "session_", (("session", str(s["id"])),), s) for s in snapshot["sessions"]]
        self.assertEqual(set(rows), {name for name, _, _, _ in about})
        for name, kind, labels, what in about:
            for state, word in (("some", "waiting"), ("full", "stalled")):
                total = what["pressure"][state]["total_us"]
                self.agree(total, rows[name][state]["total_us"])
                self.seconds(total * 1000, metrics[f"vram_{kind}pressure_{word}_seconds_total", labels])
        self.assertGreater(snapshot["devices"][0]["pressure"]["some"]["total_us"], 0)

    def compare_sums(self, snapshot):
        """Everything that is charged is charged to somebody."""
        for tier in TIERS:
            used = snapshot["devices"][0]["tiers"][tier]["used_bytes"]
            self.agree(used, sum(s["tiers"][tier]["charged_bytes"] for s in snapshot["sessions"]),
                       sum(m["tiers"][tier]["resident_bytes"] for m in snapshot["models"]))
            for kind in ("user", "exe"):
                here = [t["tiers"][tier]["usage_bytes"] for t in snapshot["tenants"] if t["kind"] == kind]
                if here:
                    self.agree(used, sum(here))

    def compare_module(self, snapshot, groups, pressure):
        names = {"root": None}
        names.update({t["subject"]: t for t in snapshot["tenants"]})
        names.update({f"session:{s['id']}": s for s in snapshot["sessions"]})
        # Others may have /dev/vram open, and have no session of the daemon's.
        self.assertLessEqual(set(names), {name for name, _ in groups})
        for tier in TIERS:
            self.agree(snapshot["devices"][0]["tiers"][tier]["used_bytes"], groups["root", tier]["usage"])
            for tenant in snapshot["tenants"]:
                values, theirs = tenant["tiers"][tier], groups[tenant["subject"], tier]
                self.agree(values["usage_bytes"], theirs["usage"])
                self.agree(values["peak_bytes"], theirs["peak"])
                for key in ("refused", "min", "low", "high", "max", "weight"):
                    self.agree(values[key], theirs[key])
            for session in snapshot["sessions"]:
                self.agree(session["tiers"][tier]["charged_bytes"], groups[f"session:{session['id']}", tier]["usage"])
        for name, what in names.items():
            if what:
                for state in ("some", "full"):
                    self.agree(what["pressure"][state]["total_us"], pressure[name][state])

    def test_agreement(self):
        snapshot = self.quiet()
        self.assertEqual((snapshot["sessions"], snapshot["models"]), ([], []))

        # Two that share a model, one with another; all of it is three times what there is.
        shared, other = self.client("one"), self.client("two")
        layers = shared.model(self.files[0]), other.model(self.files[0])
        alone = self.client("three")
        alone_layers = alone.model(self.files[1])
        for _ in range(3):
            shared.use(layers[0])
            other.use(layers[1][:5])
            alone.use(alone_layers)
        snapshot = self.compare()
        self.assertGreater(snapshot["devices"][0]["evicted_bytes"], 0)
        self.assertGreater(snapshot["devices"][0]["tiers"]["host"]["used_bytes"], 0)

        # A buffer, written, and pushed out through the host tier to disk.
        ptr, kv = alone.buffer(6)
        alone.use(kv, write_at=ptr)
        for _ in range(2):
            shared.use(layers[0])
            alone.use(alone_layers)
        snapshot = self.compare()
        self.assertGreater(snapshot["devices"][0]["paged_out_bytes"], 0)
        self.assertGreater(snapshot["sessions"][2]["written_bytes"], 0)

        # Limits, one that is passed.
        uid = os.getuid()
        self.vramctl("-j", "limit", "set", f"user:{uid}", "vram.max=3M", "vram.weight=300", "host.low=64K")
        for _ in range(2):
            alone.use(alone_layers)
            shared.use(layers[0])
        snapshot = self.compare()
        user = next(t for t in snapshot["tenants"] if t["subject"] == f"user:{uid}")
        self.assertEqual((user["tiers"]["vram"]["max"], user["tiers"]["vram"]["weight"]), (3 << 20, 300))
        self.assertLessEqual(user["tiers"]["vram"]["usage_bytes"], 3 << 20)
        self.assertGreater(user["tiers"]["vram"]["refused"], 0)

        # Another one, above which it already is.
        self.vramctl("-j", "limit", "set", f"user:{uid}", "vram.high=1M")
        alone.use(alone_layers)
        snapshot = self.compare()
        user = next(t for t in snapshot["tenants"] if t["subject"] == f"user:{uid}")
        self.assertEqual(user["tiers"]["vram"]["high"], 1 << 20)

        # One goes; what it shared falls to the other.
        self.clients.remove(other)
        other.close()
        shared.use(layers[0])
        self.compare()


if __name__ == "__main__":
    if vram_daemon.missing(["vramd", "vramctl", "vramtop", "libvram.so.0"]):
        print("vramd, vramctl, vramtop or libvram.so.0 is not built")
        sys.exit(77)
    if os.environ.get("SAN"):
        print("a library with a sanitizer cannot be loaded into Python")
        sys.exit(77)
    if vram_daemon.wants_card():
        print("a card has other tiers, and its clients need a context")
        sys.exit(77)
    unittest.main(verbosity=2)
