# Finds the constants of explore's times on the published runs; no limit, since it measures no speed.
add_benchmark(calibrate_explore LIBRARIES lshdp_explore)
target_sources(calibrate_explore PRIVATE ${PROJECT_SOURCE_DIR}/tests/explore/published_runs.cpp)
target_include_directories(calibrate_explore PRIVATE ${PROJECT_SOURCE_DIR}/tests/explore)
target_compile_definitions(calibrate_explore PRIVATE LSHDP_PUBLISHED_DATA="${PROJECT_SOURCE_DIR}/tests/explore/data"
                           LSHDP_CONFIGS="${PROJECT_SOURCE_DIR}/configs/explore")
