#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 300
"""libclient/cudashim/{names,hooks}.h against every NVIDIA header and stub library that can be found: nothing that the driver
exports is missing, what is gated has the right number of arguments, none of them in another kind of register, and
the versions are the ones under which the driver hands these forms out.

Headers come from PyPI as for test_cuda_abi.sh, and from installed toolkits. Faults planted in a copy must be found first.
"""

import glob
import os
import re
import subprocess
import sys
import tempfile

SOURCE = os.environ.get("VRAM_SRC") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BUILD = os.environ.get("VRAM_BUILD") or os.path.join(SOURCE, "build")
SHIM = os.path.join(SOURCE, "libclient", "cudashim")
# Inline functions of the header, which no library exports.
INLINE = {"cuGetProcAddress_v2_ptsz"}
MODES = ([], ["-DCUDA_API_PER_THREAD_DEFAULT_STREAM"], ["-D__CUDA_API_VERSION_INTERNAL"])


def lists(folder=SHIM):
    """({forwarded}, {gated: (version, n)}, {hooked: (version, n)})"""
    with open(os.path.join(folder, "names.h"), encoding="utf-8") as f:
        names = f.read()
    with open(os.path.join(folder, "hooks.h"), encoding="utf-8") as f:
        hooks = f.read().replace("\\\n", " ")
    gates, hooks = hooks.split("#define SHIM_GATES(X)")[1].split("#define SHIM_HOOKS(X)")
    hooks = hooks.split("#define SHIM_DECLARE")[0]
    forwards = re.findall(r"X\((cu\w+)\)", names)
    gated = re.findall(r"X\((cu\w+), (\d+), (\d+)\)", gates)
    hooked = re.findall(r"X\((cu\w+), (\d+),\s*\(([^()]*)\)\)", hooks)
    every = forwards + [g[0] for g in gated] + [h[0] for h in hooked]
    assert len(every) == len(set(every)), f"twice: {sorted(n for n in set(every) if every.count(n) > 1)}"
    assert len(hooked) > 50 and len(gated) > 100, "the lists cannot be read"
    return (set(forwards), {n: (int(v), int(a)) for n, v, a in gated},
            {n: (int(v), 0 if p.strip() == "void" else p.count(",") + 1) for n, v, p in hooked})


def preprocess(folder, header, mode, empty):
    done = subprocess.run([os.environ.get("CC", "gcc").split()[0], "-E", "-P", "-x", "c", "-I", folder, "-I", empty, *mode, "-"],
                          input=f'#include "{header}"\n', text=True, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def declared(folder, empty):
    """{exported name: {its parameter lists}} of all headers of the driver's in this folder."""
    out = {}
    for header in ("cuda.h", "cudaProfiler.h", "cudaGL.h", "cudaEGL.h", "cudaVDPAU.h"):
        if not os.path.exists(os.path.join(folder, header)):
            continue
        for mode in MODES:
            text = preprocess(folder, header, mode, empty)
            for name, params in re.findall(r"CUresult\s+(cu\w+)\s*\(([^;{]*?)\)\s*;", text):
                if name not in INLINE:
                    out.setdefault(name, set()).add(" ".join(params.split()))
    return out


def versions(folder):
    """{(base, suffix): [versions]} of cudaTypedefs.h."""
    out = {}
    with open(os.path.join(folder, "cudaTypedefs.h"), encoding="utf-8") as f:
        for base, version, suffix in re.findall(r"PFN_(cu\w+?)_v(\d+)(_ptsz|_ptds)?\)", f.read()):
            out.setdefault((base, suffix), set()).add(int(version))
    return out


def count(params):
    return 0 if params in ("", "void") else params.count(",") + 1


def compare(ours, headers, stubs):
    """What is wrong, as sentences. headers: [(declared, versions)]; stubs: [names]."""
    forwards, gated, hooked = ours
    every = forwards | set(gated) | set(hooked)
    wrong = []
    for stub in stubs:
        wrong += [f"{name}: exported by a stub library, and not by us" for name in sorted(stub - every)]
    for names, known in headers:
        wrong += [f"{name}: declared, and not exported by us" for name in sorted(set(names) - every)]
        for name, (version, n) in {**gated, **hooked}.items():
            for params in names.get(name, ()):
                if count(params) != n:
                    wrong.append(f"{name}: {count(params)} parameters, not {n}")
                if name in gated and re.search(r"\b(float|double)\b(?! *\*)", params):
                    wrong.append(f"{name}: a floating-point parameter")
            base, v, suffix = re.fullmatch(r"(\w+?)(_v\d+)?(_ptsz|_ptds)?", name).groups()
            # The forms that exist count down from the newest version that this header knows.
            forms = sorted({int(m[1] or 1) for other in names
                            if (m := re.fullmatch(re.escape(base) + r"(?:_v(\d+))?" + (suffix or ""), other))})
            have = sorted(known.get((base, suffix or ""), ()))
            form = int(v[2:]) if v else 1
            if form not in forms:
                continue
            back = len(forms) - forms.index(form)
            wanted = have[-back] if back <= len(have) else 0
            if version != wanted:
                wrong.append(f"{name}: version {wanted}, not {version}")
    return wrong


def find_headers():
    fetched = subprocess.run([os.path.join(SOURCE, "tests/support/fetch_cuda_headers.sh")],
                             env=dict(os.environ, VRAM_BUILD=BUILD), capture_output=True, text=True, check=False)
    places = glob.glob(os.path.join(BUILD, "cuda-headers", "*")) + glob.glob("/usr/local/cuda-*/include")
    places += [os.path.join(os.environ.get("CUDA_HOME", "/usr/local/cuda"), "include")]
    found = {}
    for place in places:
        header = os.path.join(place, "cuda.h")
        if not os.path.exists(os.path.join(place, "cudaTypedefs.h")) or not os.path.exists(header):
            continue
        with open(header, encoding="utf-8", errors="replace") as f:
            version = re.search(r"#define CUDA_VERSION (\d+)", f.read())
        # What older ones name differently is of drivers that vram does not take.
        if version and int(version[1]) >= 12040:
            found[os.path.realpath(place)] = int(version[1])
    return found, fetched


def exports(library):
    done = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=False)
    return {line.split()[2].split("@")[0] for line in done.stdout.splitlines() if " T cu" in line}


def main():
    found, fetched = find_headers()
    stubs = [s for s in map(exports, glob.glob("/usr/local/cuda-*/**/stubs/libcuda.so", recursive=True)) if s]
    if not found:
        print((fetched.stderr or fetched.stdout)[-300:])
        print("no cuda.h: none is installed, and none could be fetched from PyPI")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as empty:
        # What the headers for graphics include is not needed to see names.
        for name in ("GL/gl.h", "GL/glext.h", "vdpau/vdpau.h"):
            os.makedirs(os.path.join(empty, os.path.dirname(name)), exist_ok=True)
            with open(os.path.join(empty, name), "w", encoding="utf-8"):
                pass
        headers = [(declared(place, empty), versions(place)) for place in found]
    for (names, _), (place, version) in zip(headers, found.items()):
        print(f"{place}: CUDA {version // 1000}.{version % 1000 // 10}, {len(names)} names")
        assert len(names) > 400, "the header cannot be read"

    forwards, gated, hooked = lists()
    planted = [
        (forwards - {"cuCtxSynchronize"}, gated, hooked),
        (forwards, {n: g for n, g in gated.items() if n != "cuLaunchKernel_ptsz"}, hooked),
        (forwards, {**gated, "cuLaunchKernel": (4000, 10)}, hooked),
        (forwards, {**gated, "cuMemcpyHtoD_v2": (4000, 3)}, hooked),
        (forwards, gated, {**hooked, "cuMemAlloc_v2": (3020, 3)}),
        (forwards, gated, {**hooked, "cuCtxCreate_v3": (3020, 5)}),
    ]
    for ours in planted:
        if not compare(ours, headers, stubs):
            sys.exit("a planted fault was not found")
    print(f"{len(planted)} planted faults found; {len(stubs)} stub libraries")
    wrong = sorted(set(compare((forwards, gated, hooked), headers, stubs)))
    for line in wrong:
        print(line)
    library = os.path.join(BUILD, "cuda", "libcuda.so.1")
    if os.path.exists(library):
        listed, real = forwards | set(gated) | set(hooked), exports(library)
        print(f"{library}: {len(real)} functions")
        if real != listed:
            print(f"the library and the lists differ: {sorted(real ^ listed)}")
            sys.exit(1)
    sys.exit(1 if wrong else 0)


main()
