# One static library per floor. lshdp_floor(NAME [TORCH] LIBRARIES ...): TORCH shares the precompiled header of ATen.

# Options of our own code: warnings are errors here and only here.
add_library(lshdp_options INTERFACE)
# -Wrestrict of GCC 12 reports std::string::insert itself (GCC bug 105651).
target_compile_options(lshdp_options INTERFACE -Wall -Wextra -Wshadow -Wpedantic -Werror $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)
# The library's own checks: an empty optional that is read, or an index out of range, ends the process at once.
target_compile_definitions(lshdp_options INTERFACE _GLIBCXX_ASSERTIONS)
target_include_directories(lshdp_options INTERFACE ${PROJECT_SOURCE_DIR}/include)
if(LSHDP_SANITIZE)
  target_compile_options(lshdp_options INTERFACE -fsanitize=${LSHDP_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(lshdp_options INTERFACE -fsanitize=${LSHDP_SANITIZE})
endif()

add_library(lshdp_pch OBJECT ${PROJECT_SOURCE_DIR}/cmake/pch.cpp)
target_link_libraries(lshdp_pch PRIVATE lshdp_options lshdp::torch)
target_precompile_headers(lshdp_pch PRIVATE ${PROJECT_SOURCE_DIR}/cmake/pch.h)

# Gives `target` the precompiled header of ATen.
function(lshdp_use_pch target)
  target_precompile_headers(${target} REUSE_FROM lshdp_pch)
endfunction()

# Files cuda_*.cpp, nccl_*.cpp and onednn_*.cpp are for builds with CUDA, NCCL and oneDNN, no_cuda.cpp and so on for builds
# without (cmake/Cuda.cmake, cmake/Dependencies.cmake).
function(lshdp_floor name)
  cmake_parse_arguments(ARG "TORCH" "" "LIBRARIES" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.cpp)
  foreach(library cuda nccl onednn)
    set(with ${sources})
    list(FILTER with INCLUDE REGEX "/${library}_[a-z_]*\\.cpp$")
    string(TOUPPER ${library} option)
    if(LSHDP_WITH_${option})
      list(REMOVE_ITEM sources ${PROJECT_SOURCE_DIR}/src/${name}/no_${library}.cpp)
    else()
      list(REMOVE_ITEM sources ${with})
    endif()
    set_property(GLOBAL APPEND PROPERTY LSHDP_${option}_SOURCES ${with})
  endforeach()
  add_library(lshdp_${name} STATIC ${sources})
  target_link_libraries(lshdp_${name} PUBLIC ${ARG_LIBRARIES} PRIVATE lshdp_options)
  target_include_directories(lshdp_${name} PUBLIC ${PROJECT_SOURCE_DIR}/include PRIVATE ${PROJECT_SOURCE_DIR}/src/${name})
  if(ARG_TORCH)
    lshdp_use_pch(lshdp_${name})
  endif()
endfunction()
