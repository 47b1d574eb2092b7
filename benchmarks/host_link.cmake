# Plain copies to and from a CUDA device; needs one.
add_benchmark(host_link LIBRARIES lshdp_parallel)
lshdp_use_pch(host_link)
