# Decides whether `lshdp` can use CUDA devices, and gives the target lshdp::cuda that its files then link to.
set(LSHDP_CUDA AUTO CACHE STRING "CUDA devices: ON, OFF, or AUTO: if this machine has toolkit, driver and LibTorch's CUDA libraries")
set_property(CACHE LSHDP_CUDA PROPERTY STRINGS AUTO ON OFF)
if(NOT LSHDP_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "LSHDP_CUDA=${LSHDP_CUDA}: use AUTO, ON or OFF")
endif()

# What compiling and linking take: LSHDP_CUDA_MISSING names what is not there.
set(LSHDP_CUDA_MISSING "")
find_package(CUDAToolkit 13.0 QUIET)
if(NOT CUDAToolkit_FOUND)
  list(APPEND LSHDP_CUDA_MISSING "the CUDA toolkit 13")
endif()
if(NOT EXISTS ${LSHDP_TORCH_DIR}/lib/libtorch_cuda.so)
  list(APPEND LSHDP_CUDA_MISSING "libtorch_cuda.so in ${LSHDP_TORCH_DIR}/lib")
endif()
# The NCCL that LibTorch loads: the wheel's neighbour, with its header. Without it, devices exchange by way of the host.
find_path(LSHDP_NCCL_INCLUDE nccl.h HINTS ${LSHDP_TORCH_DIR}/../nvidia/nccl/include)
find_library(LSHDP_NCCL NAMES libnccl.so.2 HINTS ${LSHDP_TORCH_DIR}/../nvidia/nccl/lib)

# What running takes as well: the wheel's libraries find those of its neighbours.
find_library(LSHDP_CUDA_DRIVER NAMES cuda libcuda.so.1 PATHS /usr/local/nvidia/lib64 /usr/lib/x86_64-linux-gnu)
file(GLOB _cudnn ${LSHDP_TORCH_DIR}/../nvidia/cudnn/lib/libcudnn.so*)

set(LSHDP_WITH_CUDA OFF)
if(LSHDP_CUDA STREQUAL ON)
  if(LSHDP_CUDA_MISSING)
    list(JOIN LSHDP_CUDA_MISSING ", " _missing)
    message(FATAL_ERROR "LSHDP_CUDA=ON, but there is not: ${_missing}")
  endif()
  set(LSHDP_WITH_CUDA ON)
elseif(LSHDP_CUDA STREQUAL AUTO AND NOT LSHDP_CUDA_MISSING AND LSHDP_CUDA_DRIVER AND _cudnn)
  set(LSHDP_WITH_CUDA ON)
endif()
set(LSHDP_WITH_NCCL OFF)
if(LSHDP_WITH_CUDA AND LSHDP_NCCL AND LSHDP_NCCL_INCLUDE)
  set(LSHDP_WITH_NCCL ON)
endif()
message(STATUS "CUDA devices: ${LSHDP_WITH_CUDA} (LSHDP_CUDA=${LSHDP_CUDA}), NCCL: ${LSHDP_WITH_NCCL}")

if(NOT LSHDP_CUDA_MISSING)
  add_library(lshdp_cuda INTERFACE)
  add_library(lshdp::cuda ALIAS lshdp_cuda)
  target_include_directories(lshdp_cuda SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS})
  target_link_libraries(lshdp_cuda INTERFACE ${LSHDP_TORCH_DIR}/lib/libc10_cuda.so CUDA::cudart)
  if(LSHDP_NCCL AND LSHDP_NCCL_INCLUDE)
    target_include_directories(lshdp_cuda SYSTEM INTERFACE ${LSHDP_NCCL_INCLUDE})
    target_link_libraries(lshdp_cuda INTERFACE ${LSHDP_NCCL})
  endif()
  # Nothing names a symbol of libtorch_cuda: it registers its kernels when it is loaded.
  target_link_options(lshdp_cuda INTERFACE "SHELL:-Wl,--push-state,--no-as-needed ${LSHDP_TORCH_DIR}/lib/libtorch_cuda.so -Wl,--pop-state")
endif()

# Where a build without CUDA could have been one with it, lshdp-cuda compiles and links the files of that choice, from
# the same objects otherwise: so neither choice breaks unseen. It is not run, nor installed.
function(lshdp_link_other_choice)
  if(LSHDP_WITH_CUDA OR LSHDP_CUDA_MISSING OR LSHDP_CUDA STREQUAL OFF)
    return()
  endif()
  get_property(sources GLOBAL PROPERTY LSHDP_CUDA_SOURCES)
  if(LSHDP_NCCL AND LSHDP_NCCL_INCLUDE)
    get_property(nccl GLOBAL PROPERTY LSHDP_NCCL_SOURCES)
    list(APPEND sources ${nccl})
  endif()
  # Objects come before archives: the twins there are not looked at.
  add_executable(lshdp-cuda src/main.cpp ${sources})
  target_link_libraries(lshdp-cuda PRIVATE lshdp_cli lshdp::cuda lshdp_options)
  target_compile_definitions(lshdp-cuda PRIVATE LSHDP_VERSION="${PROJECT_VERSION}")
endfunction()
