# The host update against the copy bandwidth of the machine: OMP_NUM_THREADS=2 build/benchmarks/dequantize.
add_benchmark(dequantize LIBRARIES lshdp_model)
lshdp_use_pch(dequantize)
