# SPDX-License-Identifier: GPL-2.0-only
"""The files of the tree as the style checks see them: what git tracks or would
let you add."""

import os
import subprocess


def tracked(top, *suffixes):
    """Relative paths of the files that exist and end in one of the suffixes."""
    try:
        out = subprocess.run(["git", "-C", top, "ls-files", "-z",
                              "--cached", "--others", "--exclude-standard"], check=True,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        names = [name for name in out.decode().split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        # A tarball: everything but the build folders.
        names = []
        for folder, folders, files in os.walk(top):
            folders[:] = [f for f in folders if not f.startswith(("build", ".git"))]
            names += [os.path.relpath(os.path.join(folder, f), top) for f in files]
    return sorted(name for name in names
                  if name.endswith(suffixes) and os.path.isfile(os.path.join(top, name)))


def lines(top, name):
    with open(os.path.join(top, name), encoding="utf-8", errors="replace") as file:
        return file.read().splitlines()


def plant(top, name, text):
    """Write a file below top, for the self-tests of the checks."""
    path = os.path.join(top, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
