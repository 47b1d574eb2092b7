# What cutting a model into blocks costs, beside a plain LibTorch step: OMP_NUM_THREADS=1 build/benchmarks/walker.
add_benchmark(walker LIBRARIES lshdp_parallel)
lshdp_use_pch(walker)
