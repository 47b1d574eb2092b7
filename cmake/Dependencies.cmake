# Finds every library the project uses and gives each one target; versions are pinned in scripts/setup.sh.

# lshdp_need(PACKAGE DEBIAN_PACKAGE ...): find_package that says at the end, in one line, all that is missing.
set(LSHDP_MISSING "")
macro(lshdp_need package debian)
  find_package(${package} ${ARGN} QUIET)
  if(NOT ${package}_FOUND)
    list(APPEND LSHDP_MISSING ${debian})
  endif()
endmacro()
macro(lshdp_need_header variable header debian)
  find_path(${variable} ${header})
  if(NOT ${variable})
    list(APPEND LSHDP_MISSING ${debian})
  endif()
endmacro()
macro(lshdp_need_library variable name debian)
  find_library(${variable} ${name})
  if(NOT ${variable})
    list(APPEND LSHDP_MISSING ${debian})
  endif()
endmacro()

lshdp_need(Threads libc6-dev)
lshdp_need(MPI libopenmpi-dev COMPONENTS C)
lshdp_need(spdlog libspdlog-dev)
lshdp_need(fmt libfmt-dev)
lshdp_need(nlohmann_json nlohmann-json3-dev 3.11)
lshdp_need(cxxopts libcxxopts-dev 3)
lshdp_need(ZLIB zlib1g-dev)
lshdp_need(yaml-cpp libyaml-cpp-dev 0.7)
lshdp_need(HDF5 libhdf5-dev COMPONENTS C CXX)
lshdp_need(JPEG libjpeg62-turbo-dev)
lshdp_need(PNG libpng-dev)
lshdp_need_header(LSHDP_WEBP_DIR webp/demux.h libwebp-dev)
lshdp_need_library(LSHDP_WEBP webp libwebp-dev)
lshdp_need_library(LSHDP_WEBPDEMUX webpdemux libwebp-dev)
lshdp_need_library(LSHDP_PCRE2 pcre2-8 libpcre2-dev)
lshdp_need_library(LSHDP_XXHASH xxhash libxxhash-dev)

# Of MPI the C interface alone: without this mpi.h brings C++ bindings in, whose library Open MPI 5 no longer has. For the files
# that include mpi.h only; as a property of the library it would make the precompiled header useless elsewhere.
set(LSHDP_MPI_DEFINITIONS OMPI_SKIP_MPICXX)

add_library(lshdp_hdf5 INTERFACE)
add_library(lshdp::hdf5 ALIAS lshdp_hdf5)
target_include_directories(lshdp_hdf5 SYSTEM INTERFACE ${HDF5_CXX_INCLUDE_DIRS})
target_link_libraries(lshdp_hdf5 INTERFACE ${HDF5_CXX_LIBRARIES})

add_library(lshdp_images INTERFACE)
add_library(lshdp::images ALIAS lshdp_images)
target_include_directories(lshdp_images SYSTEM INTERFACE ${LSHDP_WEBP_DIR})
target_link_libraries(lshdp_images INTERFACE JPEG::JPEG PNG::PNG ${LSHDP_WEBPDEMUX} ${LSHDP_WEBP})

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
  lshdp_need_header(LSHDP_DNNL_DIR oneapi/dnnl/dnnl.h libdnnl-dev)
  target_include_directories(lshdp_dnnl SYSTEM INTERFACE ${LSHDP_DNNL_DIR})
  target_link_libraries(lshdp_dnnl INTERFACE ${CMAKE_DL_LIBS})
endif()

add_library(lshdp_pcre2 INTERFACE)
add_library(lshdp::pcre2 ALIAS lshdp_pcre2)
target_link_libraries(lshdp_pcre2 INTERFACE ${LSHDP_PCRE2})

add_library(lshdp_yaml INTERFACE)
add_library(lshdp::yaml ALIAS lshdp_yaml)
target_link_libraries(lshdp_yaml INTERFACE ${YAML_CPP_LIBRARIES})

add_library(lshdp_xxhash INTERFACE)
add_library(lshdp::xxhash ALIAS lshdp_xxhash)
target_link_libraries(lshdp_xxhash INTERFACE ${LSHDP_XXHASH})

if(LSHDP_MISSING)
  list(JOIN LSHDP_MISSING " " _missing)
  message(FATAL_ERROR "lshdp needs packages that are not here: run scripts/setup.sh, or apt-get install ${_missing}")
endif()

# LibTorch as the PyPI wheel installs it. Its own CMake package wants a CUDA toolkit, so we name the libraries ourselves.
file(GLOB _torch_candidates ${PROJECT_SOURCE_DIR}/.venv/lib/python3.*/site-packages/torch)
set(_torch_default "")
if(_torch_candidates)
  list(GET _torch_candidates 0 _torch_default)
endif()
set(LSHDP_TORCH_DIR "${_torch_default}" CACHE PATH "The wheel's torch directory (holds include/ and lib/)")
if(NOT LSHDP_TORCH_DIR)  # configured before scripts/setup.sh had run
  set(LSHDP_TORCH_DIR "${_torch_default}" CACHE PATH "The wheel's torch directory (holds include/ and lib/)" FORCE)
endif()
foreach(_part lib/libtorch_cpu.so lib/libc10.so include/ATen/ATen.h)
  if(NOT EXISTS "${LSHDP_TORCH_DIR}/${_part}")
    message(FATAL_ERROR "LibTorch is not in LSHDP_TORCH_DIR='${LSHDP_TORCH_DIR}' (no ${_part}): run scripts/setup.sh, "
                        "or pass -DLSHDP_TORCH_DIR=<site-packages>/torch")
  endif()
endforeach()
add_library(lshdp_torch INTERFACE)
add_library(lshdp::torch ALIAS lshdp_torch)
# After the system's folders: the wheel brings headers of fmt and others, of versions that are not the libraries we link.
target_compile_options(lshdp_torch INTERFACE "SHELL:-idirafter ${LSHDP_TORCH_DIR}/include"
                       "SHELL:-idirafter ${LSHDP_TORCH_DIR}/include/torch/csrc/api/include")
target_link_libraries(lshdp_torch INTERFACE ${LSHDP_TORCH_DIR}/lib/libtorch_cpu.so ${LSHDP_TORCH_DIR}/lib/libc10.so)
# OpenMP's runtime is the wheel's: a second one beside it would have threads of its own.
file(GLOB _torch_openmp ${LSHDP_TORCH_DIR}/lib/libgomp*.so*)
if(NOT _torch_openmp)
  message(FATAL_ERROR "OpenMP's runtime (libgomp) is not in ${LSHDP_TORCH_DIR}/lib: this is no wheel that lshdp is built for; run scripts/setup.sh")
endif()
target_link_libraries(lshdp_torch INTERFACE ${_torch_openmp})
# The wheel's libraries name others by the wheel's own rpath.
target_link_options(lshdp_torch INTERFACE -Wl,--allow-shlib-undefined)
