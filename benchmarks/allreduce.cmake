# All-reduce by size: mpirun -np 4 build/benchmarks/allreduce [--bandwidth 119MB].
add_executable(allreduce allreduce.cpp computation_loss.cpp)
target_link_libraries(allreduce PRIVATE lshdp_comm cxxopts::cxxopts lshdp_options)
target_compile_definitions(allreduce PRIVATE ${LSHDP_MPI_DEFINITIONS})
