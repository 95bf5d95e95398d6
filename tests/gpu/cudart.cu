// SPDX-License-Identifier: GPL-2.0-only
/*
 * cudart [MIB] [SECONDS]: a program as nvcc makes them, linked with the static runtime, that knows nothing of vram.
 *
 * It fills buffers of a megabyte to some dozens, goes over them with a kernel for a while, and checks every word. Ends
 * with "cudart: bytes=.. rounds=.. wrong=.." and with 0 if nothing was wrong.
 */
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <vector>

#define CHECK(call)                                                                              \
	do {                                                                                     \
		cudaError_t e_ = (call);                                                         \
												 \
		if (e_ != cudaSuccess) {                                                         \
			fprintf(stderr, "cudart: %s: %s\n", #call, cudaGetErrorString(e_));      \
			exit(1);                                                                 \
		}                                                                                \
	} while (0)

__global__ void set(uint32_t *words, size_t n, uint32_t seed)
{
	for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n;
	     i += (size_t)gridDim.x * blockDim.x)
		words[i] = (uint32_t)i * 2654435761u + seed;
}

__global__ void advance(uint32_t *words, size_t n)
{
	for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n;
	     i += (size_t)gridDim.x * blockDim.x)
		words[i] += 1;
}

__global__ void compare(const uint32_t *words, size_t n, uint32_t seed, unsigned long long *wrong)
{
	for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n;
	     i += (size_t)gridDim.x * blockDim.x)
		if (words[i] != (uint32_t)i * 2654435761u + seed)
			atomicAdd(wrong, 1ull);
}

static double now()
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	size_t left = (argc > 1 ? strtoull(argv[1], NULL, 10) : 256) << 20, bytes = 0;
	double seconds = argc > 2 ? atof(argv[2]) : 1, start;
	unsigned long long *wrong, n_wrong = 0;
	struct buffer {
		uint32_t *words;
		size_t n;
	};
	std::vector<buffer> buffers;
	uint32_t rounds = 0;
	cudaStream_t stream;

	CHECK(cudaStreamCreate(&stream));
	CHECK(cudaMalloc(&wrong, sizeof(*wrong)));
	CHECK(cudaMemset(wrong, 0, sizeof(*wrong)));
	for (size_t size = 1 << 20; left >= 1 << 20; size = size >= 48 << 20 ? 1 << 20 : size * 3) {
		buffer b;

		b.n = (size < left ? size : left) / sizeof(uint32_t);
		CHECK(cudaMalloc(&b.words, b.n * sizeof(uint32_t)));
		set<<<256, 256, 0, stream>>>(b.words, b.n, (uint32_t)buffers.size());
		CHECK(cudaGetLastError());
		buffers.push_back(b);
		left -= b.n * sizeof(uint32_t);
		bytes += b.n * sizeof(uint32_t);
	}
	start = now();
	do {
		for (const buffer &b : buffers)
			advance<<<256, 256, 0, stream>>>(b.words, b.n);
		CHECK(cudaGetLastError());
		CHECK(cudaStreamSynchronize(stream));
		rounds++;
	} while (now() - start < seconds);
	for (size_t i = 0; i < buffers.size(); i++)
		compare<<<256, 256, 0, stream>>>(buffers[i].words, buffers[i].n, (uint32_t)i + rounds, wrong);
	CHECK(cudaMemcpyAsync(&n_wrong, wrong, sizeof(n_wrong), cudaMemcpyDeviceToHost, stream));
	CHECK(cudaStreamSynchronize(stream));
	for (const buffer &b : buffers)
		CHECK(cudaFree(b.words));
	CHECK(cudaFree(wrong));
	printf("cudart: bytes=%zu rounds=%u wrong=%llu\n", bytes, rounds, n_wrong);
	return n_wrong != 0;
}
