#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""An ordinary PyTorch program: matrix products and a small network trained for some steps.

  torch_vramrun.py [--mib MIB] [--seconds S] [--device cuda] [--allocator libvram-torch.so] OUT.json

Knows nothing of vram (but for --allocator, which is what a program would do to use it). Writes numbers that
depend on everything that it computed, and for how long it computed; its caller compares them.
"""

import argparse
import contextlib
import json
import os
import sys
import time


def allocator(torch, library):
    """A pool with PyTorch's caching allocator in front of the library's functions."""
    chosen = torch.cuda.memory.CUDAPluggableAllocator(library, "vram_torch_alloc", "vram_torch_free")
    # The pool does not keep it.
    return torch.cuda.MemPool(chosen.allocator()), chosen


def products(torch, device, mib, seconds):
    """Products of matrices that take so much memory, over and over; the sum of what comes out."""
    torch.manual_seed(1)
    n = 1024
    matrices = [torch.randn(n, n, device=device) / n ** 0.5 for _ in range(max(4, mib // 4))]
    start, rounds, x = time.monotonic(), 0, matrices[0]
    sums = []
    while rounds < 2 or time.monotonic() - start < seconds:
        for m in matrices:
            x = x @ m
            x = x / x.norm() * n ** 0.5
        rounds += 1
        if rounds <= 2:
            sums.append(float(x.double().abs().sum()))
    if device == "cuda":
        torch.cuda.synchronize()
    return sums, rounds, time.monotonic() - start


def network(torch, device):
    """Losses of a small network on made-up data."""
    torch.manual_seed(2)
    model = torch.nn.Sequential(torch.nn.Linear(256, 1024), torch.nn.GELU(), torch.nn.Linear(1024, 1024),
                                torch.nn.GELU(), torch.nn.Linear(1024, 16)).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    x = torch.randn(512, 256, device=device)
    y = torch.randint(0, 16, (512,), device=device)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimiser.step()
        losses.append(float(loss))
    return losses


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--allocator")
    parser.add_argument("out")
    args = parser.parse_args()
    # What cuBLAS needs to choose the same way every time.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch  # late, so that --help works without it
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cuda.matmul.allow_tf32 = False
    with contextlib.ExitStack() as stack:
        if args.allocator:
            pool, _kept = allocator(torch, args.allocator)
            stack.enter_context(torch.cuda.use_mem_pool(pool))
        sums, rounds, seconds = products(torch, args.device, args.mib, args.seconds)
        losses = network(torch, args.device)
    result = {"torch": torch.__version__, "sums": sums, "losses": losses, "rounds": rounds, "seconds": seconds}
    if args.device == "cuda":
        result["peak_mib"] = torch.cuda.max_memory_reserved() >> 20
        result["free_mib"], result["total_mib"] = (b >> 20 for b in torch.cuda.mem_get_info())
    with open(args.out, "w", encoding="utf-8") as f:
        json.dump(result, f)
    return 0


if __name__ == "__main__":
    sys.exit(main())
