/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef VRAM_TOOLS_SHARED_CLI_H
#define VRAM_TOOLS_SHARED_CLI_H

#include "common/cli.h"

#endif
