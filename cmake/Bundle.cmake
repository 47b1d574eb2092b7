# One folder, and by CPack one archive, that runs on other machines beside a wheel of PyTorch: component `bundle`.
find_program(LSHDP_PYTHON3 python3)

# Small programs that only a bundle needs.
add_executable(newest_symbols scripts/bundle/newest_symbols.cpp)
target_link_libraries(newest_symbols PRIVATE lshdp_options)
add_library(lshdp_arc4random SHARED scripts/bundle/arc4random.c)

# lshdp_bundle(PROGRAM ...): what the bundle holds. Built by the target `bundle_programs`.
function(lshdp_bundle)
  set(arguments --torch "${LSHDP_TORCH_DIR}" --probe "$<TARGET_FILE:newest_symbols>" --arc4random "$<TARGET_FILE:lshdp_arc4random>")
  if(LSHDP_WITH_CUDA)
    list(APPEND arguments --cuda)
  endif()
  foreach(program ${ARGN})
    list(APPEND arguments --program "$<TARGET_FILE:${program}>")
  endforeach()
  list(JOIN arguments "\" \"" arguments)
  add_custom_target(bundle_programs DEPENDS ${ARGN} newest_symbols lshdp_arc4random)
  install(CODE "
    execute_process(COMMAND \"${LSHDP_PYTHON3}\" \"${PROJECT_SOURCE_DIR}/scripts/bundle/gather.py\"
                            --to \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}\" \"${arguments}\" COMMAND_ERROR_IS_FATAL ANY)"
    COMPONENT bundle EXCLUDE_FROM_ALL)
  install(PROGRAMS scripts/plot_results.py scripts/gpu_check.sh scripts/gpu_figures.py DESTINATION scripts COMPONENT bundle EXCLUDE_FROM_ALL)
  install(DIRECTORY experiments/baselines DESTINATION experiments COMPONENT bundle EXCLUDE_FROM_ALL
          FILES_MATCHING PATTERN "*.py")
  install(DIRECTORY configs DESTINATION . COMPONENT bundle EXCLUDE_FROM_ALL)
  install(FILES README.md LICENSE DESTINATION . COMPONENT bundle EXCLUDE_FROM_ALL)
endfunction()

set(_kind "")
if(LSHDP_WITH_CUDA)
  set(_kind -cuda)
endif()
set(CPACK_GENERATOR TGZ)
set(CPACK_PACKAGE_FILE_NAME lshdp-${PROJECT_VERSION}-linux-x86_64${_kind})
set(CPACK_COMPONENTS_ALL bundle)
set(CPACK_ARCHIVE_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
set(CPACK_INCLUDE_TOPLEVEL_DIRECTORY ON)
set(CPACK_COMPONENT_INCLUDE_TOPLEVEL_DIRECTORY ON)
# gzip is there wherever tar is.
set(CPACK_ARCHIVE_FILE_NAME ${CPACK_PACKAGE_FILE_NAME})
set(CPACK_PACKAGE_CHECKSUM SHA256)
set(CPACK_VERBATIM_VARIABLES ON)
include(CPack)
