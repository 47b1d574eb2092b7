# What products by oneDNN gain on LibTorch's: OMP_NUM_THREADS=1 build/benchmarks/linear --benchmark_enable_random_interleaving.
add_benchmark(linear LIBRARIES lshdp_model)
lshdp_use_pch(linear)
