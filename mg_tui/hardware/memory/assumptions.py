"""Constants the estimate assumes, each with its reason. Everything else is derived.

None of these has been measured on a GPU by this project. They are conservative: an estimate that is slightly too high
costs a smaller batch, one that is too low costs a run.
"""

from typing import Final

MIB: Final = 2**20
GIB: Final = 2**30
FLOAT32_BYTES: Final = 4

# What a process holds on the device before its first tensor: the context, and the code of the kernels it loads. People
# report 300 to 800 MiB, by driver and device; torch loads kernels when they are first used.
CUDA_CONTEXT: Final = 600 * MIB

# cuBLAS and cuBLASLt keep a workspace for each stream they are used on. torch requests 8 MiB, and 32 MiB on Hopper, for
# each of the two; the streams of training and of the backward pass are one.
CUBLAS_WORKSPACE: Final = 64 * MIB

# The caching allocator rounds sizes up (to 512 bytes, large ones to 2 MiB) and splits its blocks, so it holds more than
# the tensors in it. A share of everything that comes and goes in a step, and of weights next to nothing: these are
# allocated once.
FRAGMENTATION: Final = 0.10

# nf4: 4 bits per weight; one 8-bit scale per block of 64 weights, and one float32 scale per block of 256 of those.
# Besides, each layer has tables of 16 and of 256 float32 and an offset.
NF4_BLOCK: Final = 64
NF4_SCALE_BLOCK: Final = 256
NF4_TABLES: Final = 4 * (16 + 256 + 1)

# The backward pass needs the matrix of a quantized layer in the compute dtype: one at a time (bitsandbytes 0.50), with
# the scales of its blocks in float32. The forward multiplies with the packed weights.
DEQUANTIZED_MATRICES: Final = 1

# int8: one byte a weight and one float32 for each row; the input of a layer is copied in float16 and in 8 bits.
INT8_INPUT_BYTES: Final = 3

# AdamW keeps two moments in float32; in 8 bits one byte each, with one float32 for each block of 256 numbers.
ADAMW_BYTES: Final = 8.0
ADAMW_8BIT_BYTES: Final = 2.0 + 2 * 4 / 256

# DoRA multiplies its two matrices to compute the column norms of the sum: copies of the largest matrix, in bytes per
# entry, as counted for PEFT 0.21 with autocast.
DORA_MATRIX_BYTES: Final = 32

# Logits in float32 exist for a chunk of positions at a time: its bytes, the same as CUDA_CHUNK_BYTES and CHUNK_BYTES of
# `mg_tui.engine.compute.fused_cross_entropy` (a test compares them).
LOGITS_CHUNK: Final = {"cuda": 2**28, "cpu": 2**25}

# On the CPU: the interpreter with torch and transformers loaded.
HOST_PROCESS: Final = 900 * MIB
