#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bundle.sh BUILD DIR: gather what check_gpu.sh needs into DIR, for a machine with a card but without
# our packages: programs that find their libraries beside themselves ($ORIGIN), scripts, and a script
# `check-gpu` that runs it all. It needs a glibc as new as Debian 12's, bash and python3 there.
set -euo pipefail

cd "$(dirname "$0")/../.."
build=$1 out=$2
rm -rf "$out"
mkdir -p "$out/build/lib" "$out/src"

# The C library and what belongs to it is the machine's own; so is the driver.
is_system()
{
	case $1 in
	libc.so.* | libm.so.* | libpthread.so.* | libdl.so.* | librt.so.* | ld-linux* | libgcc_s.so.* | \
		libstdc++.so.* | linux-vdso* | libcuda.so.*) true ;;
	*) false ;;
	esac
}

# take FILE: a program or library of ours, stripped, with the libraries that it needs.
take()
{
	local file=$1 name path
	install -D -m 755 "$build/$file" "$out/build/$file"
	strip --strip-debug "$out/build/$file" 2>/dev/null || true
	while read -r name _ path _; do
		if [[ $path == /* ]] && ! is_system "$name" && [ ! -e "$out/build/lib/$name" ]; then
			install -m 755 "$path" "$out/build/lib/$name"
		fi
	done < <(ldd "$build/$file" 2>/dev/null)
}

cd "$build"
shopt -s nullglob
programs=(vramd vramctl vramrun vramtop libvram*.so* examples/* tests/gpu/*
	tests/conformance/* tests/integration/* tests/bench/gpu-*)
cd - >/dev/null
shopt -s nullglob
for file in "${programs[@]}"; do
	[ ! -f "$build/$file" ] || take "$file"
done
# A symbolic link became a copy, which is fine. Folders of libraries (the shim's) come whole.
while read -r file; do
	take "${file#"$build"/}"
done < <(find -L "$build" -mindepth 2 -maxdepth 3 -name 'lib*.so*' ! -path '*/obj/*' ! -path '*/lib/*' \
	! -path '*/kmod-*' ! -path '*/tests/*' ! -path '*/cuda-standin/*' -type f)

for folder in tests/gpu tests/cuda tests/conformance tests/integration tests/bench tests/support; do
	[ ! -d $folder ] || { git ls-files -z --cached --others --exclude-standard -- $folder |
		xargs -0r cp --parents -t "$out/src"; }
done
cp --parents tests/run.sh -t "$out/src"
git describe --always --dirty --abbrev=12 >"$out/src/COMMIT"

# A program of nvcc, if there is one here: the machine with the card may lack it.
nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
if [ -x "$nvcc" ]; then
	"$nvcc" -O2 -cudart static -arch=all-major -o "$out/build/tests/gpu/cudart" tests/gpu/cudart.cu
fi

cat >"$out/check-gpu" <<'END'
#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Everything that only a real card can show; src/tests/gpu/check_gpu.sh tells more.
here=$(cd "$(dirname "$0")" && pwd) || exit 2
exec "$here/src/tests/gpu/check_gpu.sh" -b "$here/build" "$@"
END
chmod +x "$out/check-gpu"

# What is taken from outside here may not be there.
outside=$(find "$out/build" -type f -executable ! -path "*/lib/*" -exec env -i ldd {} + 2>/dev/null |
	while read -r name _ path _; do
		if ! is_system "$name" && { [ "$path" = not ] || [[ $path == /* && $path != "$(realpath "$out")"/* ]]; }; then
			echo "$name ($path)"
		fi
	done | sort -u)
[ -z "$outside" ] || { echo "not in the bundle: $outside" >&2; exit 1; }
size=$(du -sm "$out" | cut -f 1)
echo "$out: $size MiB; carry it and run check-gpu in it"
[ "$size" -lt 60 ] || { echo "more than 60 MiB" >&2; exit 1; }
