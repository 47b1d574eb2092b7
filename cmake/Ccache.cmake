# Uses ccache where it is installed. Paths below the source folder are made relative, so that clones share the cache; the
# sloppiness is what ccache's manual asks for with precompiled headers.
find_program(LSHDP_CCACHE ccache)
if(LSHDP_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${LSHDP_CCACHE})
endif()
