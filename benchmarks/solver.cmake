# Time of the batch solver against its limit, one second for ten thousand ranks.
add_benchmark(solver LIBRARIES lshdp_plan)
