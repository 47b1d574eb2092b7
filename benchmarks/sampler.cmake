# Positions per second of the sampler: build/benchmarks/sampler.
add_benchmark(sampler LIBRARIES lshdp_data)
