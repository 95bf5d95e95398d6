#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Brings NVIDIA's cuda.h of two CUDA versions into build/cuda-headers/{13,12}/, for comparing common/cuda_abi.h
# with it. What is there already is not fetched again; everything is pinned by hash. About 6 MB.
#
# VRAM_BUILD names another folder than build/.
set -eu

here=$(dirname "$(readlink -f "$0")")
build=${VRAM_BUILD:-$here/../../build}
mkdir -p "$build"
build=$(readlink -f "$build")
headers=$build/cuda-headers
part=$build/cuda-headers.part

# The stamp is the requirements file itself: another pin fetches anew.
if cmp -s "$here/requirements-cuda.txt" "$headers/requirements-cuda.txt"; then
	exit 0
fi
rm -rf "$part" "$headers"
mkdir -p "$part"
python3 -m venv "$part/venv" || {
	echo "fetch_cuda_headers: python3 -m venv failed: the Debian package is python3-venv" >&2
	exit 1
}
"$part/venv/bin/python" -m pip download --quiet --disable-pip-version-check --retries 1 --timeout 20 --no-deps \
	--only-binary=:all: --require-hashes -d "$part" -r "$here/requirements-cuda.txt"
"$part/venv/bin/python" - "$part" <<'PYTHON'
import glob, os, sys, zipfile

part = sys.argv[1]
for wheel, folder, target in (
    ("nvidia_cuda_runtime-13*.whl", "nvidia/cu13/include/", "13"),
    ("nvidia_cuda_runtime_cu12-12*.whl", "nvidia/cuda_runtime/include/", "12"),
):
    os.mkdir(f"{part}/{target}")
    with zipfile.ZipFile(glob.glob(f"{part}/{wheel}")[0]) as z:
        for name in ("cuda.h", "cudaTypedefs.h"):
            with open(f"{part}/{target}/{name}", "wb") as out:
                out.write(z.read(folder + name))
PYTHON
rm -rf "$part"/venv "$part"/*.whl
cp "$here/requirements-cuda.txt" "$part/"
mv "$part" "$headers"
