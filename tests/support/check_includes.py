#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Check the direction of every include, and who alone includes a foreign header.

The tables below are the layering of the tree; docs/architecture.md explains it.
Before looking at the tree, violations planted in a scratch tree must all be found.
"""

import os
import re
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tree  # noqa: E402

# Which files of ours each part may include; the first matching row counts.
# (including file, what it may include), both as regular expressions.
PARTS = [
    (r"kmod/", r"kmod/"),
    (r"common/proto\.h", r"(?!)"),
    (r"common/", r"common/"),
    (r"libclient/(examples|pytorch)/", r"libclient/vram(_cuda)?\.h"),
    (r"libclient/preload/", r"libclient/(?!examples/)|common/"),
    (r"libclient/(client|table_kmod)\.c", r"libclient/|common/|kmod/uapi/"),
    (r"libclient/", r"libclient/(?!examples/|preload/)|common/"),
    (r"tools/shared/", r"tools/shared/|common/"),
    (r"tools/vramtrace/", r"tools/(vramtrace|shared)/|common/|libclient/vram\.h|kmod/(uapi/|trace)"),
    (r"tools/(\w+)/", r"tools/(\1|shared)/|common/|libclient/vram\.h"),
    (r"daemon/policy\w*\.[ch]", r"daemon/policy\w*\.h|common/|kmod/(ledger|pressure|group|stall)\.h"),
    (r"daemon/arbiter_kmod(_\w+)?\.[ch]", r"daemon/|common/|kmod/(ledger|pressure|group|stall)\.h|kmod/uapi/"),
    (r"daemon/", r"daemon/|common/|kmod/(ledger|pressure|group|stall)\.h"),
    (r"tests/", r""),
]

# The daemon's modules from bottom to top. A file belongs to the module whose
# name it has, or has as a prefix before an underscore (gpu_host.c: gpu). It may include
# its own layer and those below; whoever is above is told by callback.
DAEMON_LAYERS = [
    ["log", "loop", "policy", "admission", "job", "gpu", "privileges", "config", "json_text", "trace", "trigger", "names"],
    ["arbiter", "limits", "limit_table", "object", "store", "swap", "hostpool", "pager"],
    ["scheduler", "snapshot"],
    ["session", "admin", "listener", "metrics"],
    ["daemon"],
    ["main"],
]

# Foreign header, and the only files that may include it. Tests are free.
SOLE = [
    (r"liburing\.h|liburing/.*", r"daemon/loop(_\w+)?\.[ch]"),
    (r"cuda\.h", r"(?!)"),
    (r"common/cuda_\w+\.h", r"common/cuda_\w+\.[ch]|daemon/gpu_cuda\w*\.[ch]|libclient/cuda\w*(/\w+)?\.[ch]"),
    (r"xf86drm(Mode)?\.h|libdrm/.*|drm/.*|\w+_drm\.h", r"common/drm\.c"),
    (r"n?cursesw?(/.*)?\.h|term\.h", r"tools/vramtop/screen\.c"),
    (r"bpf/.*", r"tools/vramtrace/(attach\.c|bpf/\w+\.bpf\.c)"),
    (r"sys/sdt\.h", r"daemon/trace\.c"),
    (r"ini\.h", r"daemon/config\w*\.c"),
    (r"microhttpd\.h", r"daemon/metrics_listen\.c"),
    (r"cap-ng\.h", r"daemon/privileges\.c"),
    (r"kmod/uapi/.*", r"kmod/.*|daemon/arbiter_kmod(_\w+)?\.[ch]|libclient/(client|table_kmod)\.c|tools/vramtrace/.*"),
]

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def module_layer(name):
    """Layer of daemon/NAME.[ch], or None for a module that the table does not know."""
    stem = os.path.basename(name).rsplit(".", 1)[0]
    best = None
    for layer, modules in enumerate(DAEMON_LAYERS):
        for module in modules:
            if stem == module or stem.startswith(module + "_"):
                if best is None or len(module) > best[0]:
                    best = (len(module), layer)
    return best and best[1]


def check_part(name, target):
    for who, may in PARTS:
        match = re.match(who, name)
        if match:
            if not re.match(match.expand(may) if match.groups() else may, target):
                return f"{name.split('/')[0]}/ must not include {target} from here"
            break
    else:
        return "a folder without a row in PARTS"
    if name.startswith("daemon/") and target.startswith("daemon/"):
        mine, theirs = module_layer(name), module_layer(target)
        if theirs is None:
            return f"{target}: a module without a layer"
        if mine is not None and theirs > mine:
            return f"upward: {target} is a layer above"
    return None


def check(top):
    """Return the violations as 'file:line: text'."""
    found = []
    names = tree.tracked(top, ".c", ".h")
    for name in names:
        if name.startswith("daemon/") and module_layer(name) is None:
            found.append(f"{name}:1: a module without a layer; give it one in check_includes.py")
        first = True
        own = name[:-2] + ".h"
        for number, line in enumerate(tree.lines(top, name), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            ours, target = match.group(1) == '"', match.group(2)
            where = f"{name}:{number}"
            if first and name.endswith(".c") and own in names and target != own:
                found.append(f'{where}: "{own}" must come first')
            first = False
            if not name.startswith("tests/"):
                for header, who in SOLE:
                    if re.fullmatch(header, target) and not re.fullmatch(who, name):
                        found.append(f"{where}: {target} is for {who} alone")
            if not ours:
                continue
            if not os.path.isfile(os.path.join(top, target)):
                found.append(f'{where}: "{target}" is no path from the top of the tree')
                continue
            why = check_part(name, target)
            if why:
                found.append(f"{where}: {why}")
    return found


# (file, its text, part of the complaint or None)
PLANTED = [
    ("common/err.h", "", None),
    ("common/proto.h", '#include "common/err.h"\n', "common/ must not include"),
    ("common/fd.c", '#include "daemon/log.h"\n', "common/ must not include daemon/log.h"),
    ("kmod/ledger.h", "", None),
    ("kmod/ledger.c", '#include "kmod/ledger.h"\n#include "common/err.h"\n', "kmod/ must not include"),
    ("kmod/uapi/vram.h", "", None),
    ("libclient/vram.h", "", None),
    ("libclient/internal.h", "", None),
    ("libclient/model.c", '#include "libclient/internal.h"\n#include "common/proto.h"\n', None),
    ("libclient/layer.c", '#include "kmod/uapi/vram.h"\n', "kmod/uapi/vram.h is for"),
    ("libclient/cuda.c", '#include "daemon/log.h"\n', "libclient/ must not include"),
    ("tools/vramctl/main.c", '#include "libclient/vram.h"\n#include "common/err.h"\n', None),
    ("tools/vramctl/show.c", '#include "libclient/internal.h"\n', "tools/ must not include"),
    ("tools/vramctl/show.h", "", None),
    ("tools/vramrun/main.c", '#include "tools/vramctl/show.h"\n', "tools/ must not include"),
    ("daemon/log.h", "", None),
    ("daemon/loop.c", "#include <liburing.h>\n", None),
    ("daemon/pager.h", "", None),
    ("daemon/pager.c", '#include "daemon/log.h"\n', '"daemon/pager.h" must come first'),
    ("daemon/store.c", '#include "daemon/pager.h"\n#include <liburing.h>\n', "liburing.h is for"),
    ("daemon/gpu_host.c", '#include "daemon/pager.h"\n', "upward: daemon/pager.h"),
    ("daemon/policy.c", '#include "daemon/log.h"\n', "daemon/ must not include daemon/log.h"),
    ("daemon/session.c", '#include "libclient/vram.h"\n', "daemon/ must not include"),
    ("daemon/daemon.c", '#include "pager.h"\n', "no path from the top"),
    ("daemon/scheduler.c", "#include <xf86drm.h>\n", "xf86drm.h is for"),
    ("daemon/helper.c", "", "a module without a layer"),
    ("tools/vramtop/draw.c", "#include <curses.h>\n", "curses.h is for"),
    ("tools/vramtop/screen.c", "#include <curses.h>\n#include <term.h>\n", None),
    ("tests/unit/test_x.c", '#include "daemon/pager.h"\n#include <liburing.h>\n', None),
]


def self_test():
    with tempfile.TemporaryDirectory() as top:
        for name, text, _ in PLANTED:
            tree.plant(top, name, text)
        found = check(top)
    wrong = []
    for name, _, complaint in PLANTED:
        mine = [line for line in found if line.startswith(name + ":")]
        if complaint is None and mine:
            wrong.append(f"self-test: {name} is right, yet: {mine[0]}")
        elif complaint is not None and not any(complaint in line for line in mine):
            wrong.append(f"self-test: planted in {name}, not found: {complaint} ({mine})")
    return wrong


def main():
    top = sys.argv[1] if len(sys.argv) > 1 else "."
    found = self_test()
    planted = sum(1 for row in PLANTED if row[2])
    if not found:
        print(f"self-test: {planted} planted violations found")
        found = check(top)
    for line in found:
        print(line)
    print(f"include directions: {len(found)} violations in {len(tree.tracked(top, '.c', '.h'))} files")
    return 1 if found else 0

if __name__ == "__main__":
    sys.exit(main())
