#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# The demo: docs/demo.md says what it shows; demo.py --help lists its options.
exec python3 "$(dirname "$0")/demo.py" "$@"
