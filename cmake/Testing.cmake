# Registers tests: add_unit_test(NAME ...) runs one process, add_mpi_test(NAME RANKS 1 2 4 ...) runs real ranks under mpirun.
find_package(GTest QUIET)
if(NOT GTest_FOUND)
  message(FATAL_ERROR "lshdp's tests need GoogleTest: run scripts/setup.sh, apt-get install libgtest-dev libgmock-dev, or pass "
                      "-DLSHDP_BUILD_TESTS=OFF")
endif()
add_library(lshdp_test_support STATIC ${PROJECT_SOURCE_DIR}/tests/support/temporary_directory.cpp
                                      ${PROJECT_SOURCE_DIR}/tests/support/command.cpp)
target_include_directories(lshdp_test_support PUBLIC ${PROJECT_SOURCE_DIR}/tests)
target_link_libraries(lshdp_test_support PUBLIC GTest::gtest GTest::gmock lshdp_core PRIVATE lshdp_options)
add_library(lshdp_mpi_main STATIC ${PROJECT_SOURCE_DIR}/tests/support/mpi_main.cpp)
target_link_libraries(lshdp_mpi_main PUBLIC lshdp_test_support MPI::MPI_C PRIVATE lshdp_options)
target_compile_definitions(lshdp_mpi_main PRIVATE ${LSHDP_MPI_DEFINITIONS})

# Open MPI removes ompi.HOST.USER when its last program ends, and a program that starts at that moment fails. The tests have
# a folder of their own for it, and a file named output-* keeps it: Open MPI takes such files for a user's.
cmake_host_system_information(RESULT _host QUERY HOSTNAME)
execute_process(COMMAND id -u OUTPUT_VARIABLE _user OUTPUT_STRIP_TRAILING_WHITESPACE)
set(LSHDP_TEST_ENVIRONMENT OMPI_MCA_orte_tmpdir_base=${PROJECT_BINARY_DIR}/ompi PYTHONDONTWRITEBYTECODE=1)
file(WRITE ${PROJECT_BINARY_DIR}/ompi/ompi.${_host}.${_user}/output-keep "")

set(LSHDP_MPIRUN ${MPIEXEC_EXECUTABLE} --allow-run-as-root --oversubscribe --bind-to none)

# SOURCES default to NAME.cpp; TORCH gives the precompiled header; TIMEOUT is in seconds, long enough for a machine under load.
function(_lshdp_test_executable name)
  cmake_parse_arguments(ARG "TORCH" "TIMEOUT" "SOURCES;LIBRARIES;RANKS;LABELS" ${ARGN})
  if(NOT ARG_SOURCES)
    set(ARG_SOURCES ${name}.cpp)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBRARIES} lshdp_test_support lshdp_options)
  target_compile_definitions(${name} PRIVATE LSHDP_TEST_DATA="${CMAKE_CURRENT_SOURCE_DIR}/data")
  if(ARG_TORCH)
    # The definition above would make another precompiled header necessary; LibTorch's is shared only without it.
    set_property(TARGET ${name} PROPERTY COMPILE_DEFINITIONS "")
    set_source_files_properties(${ARG_SOURCES} PROPERTIES COMPILE_DEFINITIONS LSHDP_TEST_DATA="${CMAKE_CURRENT_SOURCE_DIR}/data")
    lshdp_use_pch(${name})
  endif()
endfunction()

function(add_unit_test name)
  cmake_parse_arguments(ARG "TORCH" "TIMEOUT" "SOURCES;LIBRARIES;LABELS" ${ARGN})
  _lshdp_test_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 1200)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "unit;${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT}
                       ENVIRONMENT "${LSHDP_TEST_ENVIRONMENT}")
endfunction()

function(add_mpi_test name)
  cmake_parse_arguments(ARG "TORCH" "TIMEOUT" "SOURCES;LIBRARIES;RANKS;LABELS" ${ARGN})
  _lshdp_test_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE lshdp_mpi_main)
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 1200)
  endif()
  foreach(ranks ${ARG_RANKS})
    set(processors 2)
    if(ranks EQUAL 1)
      set(processors 1)
    endif()
    add_test(NAME ${name}.${ranks} COMMAND ${LSHDP_MPIRUN} -np ${ranks} $<TARGET_FILE:${name}>)
    set_tests_properties(${name}.${ranks} PROPERTIES LABELS "mpi;${ARG_LABELS}" PROCESSORS ${processors} TIMEOUT ${ARG_TIMEOUT}
                         ENVIRONMENT "OMP_NUM_THREADS=1;${LSHDP_TEST_ENVIRONMENT}")
  endforeach()
endfunction()
