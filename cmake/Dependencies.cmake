# Finds every library the project uses and gives each one target; versions are pinned in scripts/setup.sh.
find_package(Threads REQUIRED)
find_package(MPI REQUIRED COMPONENTS CXX)
find_package(spdlog REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(cxxopts 3 REQUIRED)
find_package(ZLIB REQUIRED)
find_package(HDF5 REQUIRED COMPONENTS C CXX)
find_path(LSHDP_STB_DIR stb/stb_image.h REQUIRED)
find_library(LSHDP_PCRE2 pcre2-8 REQUIRED)
find_library(LSHDP_XXHASH xxhash REQUIRED)

add_library(lshdp_hdf5 INTERFACE)
add_library(lshdp::hdf5 ALIAS lshdp_hdf5)
target_include_directories(lshdp_hdf5 SYSTEM INTERFACE ${HDF5_CXX_INCLUDE_DIRS})
target_link_libraries(lshdp_hdf5 INTERFACE ${HDF5_CXX_LIBRARIES})

add_library(lshdp_stb INTERFACE)
add_library(lshdp::stb ALIAS lshdp_stb)
target_include_directories(lshdp_stb SYSTEM INTERFACE ${LSHDP_STB_DIR})

# oneDNN multiplies matrices of floats. It is loaded at run time (src/model/onednn_multiply.cpp says why), in a way that
# sanitizers do not allow; on other processors it has no fast kernels for this.
set(_onednn OFF)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$" AND NOT LSHDP_SANITIZE)
  set(_onednn ON)
endif()
option(LSHDP_ONEDNN "Multiply matrices of floats on the CPU by oneDNN, otherwise by LibTorch" ${_onednn})
set(LSHDP_WITH_ONEDNN ${LSHDP_ONEDNN})
add_library(lshdp_dnnl INTERFACE)
add_library(lshdp::dnnl ALIAS lshdp_dnnl)
if(LSHDP_ONEDNN)
  find_path(LSHDP_DNNL_DIR oneapi/dnnl/dnnl.h REQUIRED)
  target_include_directories(lshdp_dnnl SYSTEM INTERFACE ${LSHDP_DNNL_DIR})
  target_link_libraries(lshdp_dnnl INTERFACE ${CMAKE_DL_LIBS})
endif()

add_library(lshdp_pcre2 INTERFACE)
add_library(lshdp::pcre2 ALIAS lshdp_pcre2)
target_link_libraries(lshdp_pcre2 INTERFACE ${LSHDP_PCRE2})

add_library(lshdp_xxhash INTERFACE)
add_library(lshdp::xxhash ALIAS lshdp_xxhash)
target_link_libraries(lshdp_xxhash INTERFACE ${LSHDP_XXHASH})

# LibTorch as the PyPI wheel installs it. Its own CMake package wants a CUDA toolkit, so we name the libraries ourselves.
file(GLOB _torch_candidates ${PROJECT_SOURCE_DIR}/.venv/lib/python3.*/site-packages/torch)
list(APPEND _torch_candidates "")
list(GET _torch_candidates 0 _torch_default)
set(LSHDP_TORCH_DIR "${_torch_default}" CACHE PATH "The wheel's torch directory (holds include/ and lib/)")
if(NOT EXISTS ${LSHDP_TORCH_DIR}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "LibTorch not found in '${LSHDP_TORCH_DIR}': run scripts/setup.sh, or pass -DLSHDP_TORCH_DIR=<site-packages>/torch")
endif()
add_library(lshdp_torch INTERFACE)
add_library(lshdp::torch ALIAS lshdp_torch)
# After the system's folders: the wheel brings headers of fmt and others, of versions that are not the libraries we link.
target_compile_options(lshdp_torch INTERFACE "SHELL:-idirafter ${LSHDP_TORCH_DIR}/include"
                       "SHELL:-idirafter ${LSHDP_TORCH_DIR}/include/torch/csrc/api/include")
target_link_libraries(lshdp_torch INTERFACE ${LSHDP_TORCH_DIR}/lib/libtorch_cpu.so ${LSHDP_TORCH_DIR}/lib/libc10.so)
# The wheel's libraries name others by the wheel's own rpath.
target_link_options(lshdp_torch INTERFACE -Wl,--allow-shlib-undefined -Wl,-rpath,${LSHDP_TORCH_DIR}/lib)
