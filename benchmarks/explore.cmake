# Layouts a second of the search, against its goal of a million on one core.
add_benchmark(explore LIBRARIES lshdp_explore)
