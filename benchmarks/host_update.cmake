# The host update against the copy bandwidth of the machine: OMP_NUM_THREADS=2 build/benchmarks/host_update.
add_benchmark(host_update LIBRARIES lshdp_parallel)
lshdp_use_pch(host_update)
