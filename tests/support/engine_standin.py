#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Stands in for llama.cpp's programs where a documented command names one: it maps its model, as they do, and
reads it from its beginning to its end for each token. It computes nothing.

  llama-server -m MODEL [--port PORT] ...      reads it once, then n_predict times for each POST
  llama-completion -m MODEL -n TOKENS ...      reads it TOKENS times and ends

What it is called as decides. Other options are taken and ignored.
"""

import http.server
import json
import mmap
import os
import sys

STEP = 1 << 20


class Model:
    def __init__(self, path):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.bytes = mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
        os.close(fd)

    def read(self, times):
        for _ in range(times):
            for at in range(0, len(self.bytes), STEP):
                sum(self.bytes[at : at + STEP : 4096])


def option(names, default):
    for name in names:
        if name in sys.argv[1:-1]:
            return sys.argv[sys.argv.index(name) + 1]
    return default


def main():
    path = option(("-m", "--model"), None)
    if not path:
        sys.exit("-m MODEL")
    model = Model(path)
    if os.path.basename(sys.argv[0]) == "llama-completion":
        model.read(int(option(("-n", "--predict"), "16")))
        return
    model.read(1)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
            model.read(int(asked.get("n_predict", 1)))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}\n")

        def log_message(self, format, *args):  # pylint: disable=redefined-builtin
            pass

    http.server.HTTPServer(("127.0.0.1", int(option(("--port",), "8080"))), Handler).serve_forever()


if __name__ == "__main__":
    main()
