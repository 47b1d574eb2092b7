# Time of the layout planner against its limits.
add_benchmark(layout_planner LIBRARIES lshdp_plan)
