# Installs the program with what it needs at run time, so that the installed tree and the build tree can be moved.
include(GNUInstallDirs)
option(LSHDP_INSTALL_LIBTORCH "Copy the libraries of LibTorch's wheel into the installed tree (about half a gigabyte)" OFF)

# Where LibTorch lies as seen from the program, if both move together; nothing otherwise.
function(lshdp_relative_torch result program_dir root)
  set(written "${LSHDP_TORCH_DIR}/lib")
  set(${result} "" PARENT_SCOPE)
  cmake_path(IS_PREFIX root "${written}" NORMALIZE inside)
  if(inside)
    file(RELATIVE_PATH relative "${program_dir}" "${written}")
    set(${result} "$ORIGIN/${relative}" PARENT_SCOPE)
  endif()
endfunction()

lshdp_relative_torch(_in_build "${PROJECT_BINARY_DIR}" "${PROJECT_SOURCE_DIR}")
lshdp_relative_torch(_in_prefix "${CMAKE_INSTALL_FULL_BINDIR}" "${CMAKE_INSTALL_PREFIX}")
file(RELATIVE_PATH _copied "${CMAKE_INSTALL_FULL_BINDIR}" "${CMAKE_INSTALL_FULL_LIBDIR}/lshdp/torch/lib")
# LibTorch's own folder comes last: it serves where that was not moved. INSTALL_RPATH_USE_LINK_PATH adds those of other
# libraries, but none in the source tree.
set_target_properties(lshdp PROPERTIES BUILD_RPATH "${_in_build}" INSTALL_RPATH "$ORIGIN/${_copied};${_in_prefix};${LSHDP_TORCH_DIR}/lib"
                      INSTALL_RPATH_USE_LINK_PATH ON)

install(TARGETS lshdp RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(PROGRAMS scripts/plot_results.py scripts/plot_memory.py scripts/plot_explore.py DESTINATION ${CMAKE_INSTALL_DATADIR}/lshdp/scripts)
install(DIRECTORY configs DESTINATION ${CMAKE_INSTALL_DATADIR}/lshdp)
install(FILES README.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

# The program writes its manual page and what shells complete command lines by.
install(CODE "
  set(made \"${PROJECT_BINARY_DIR}/generated/install\")
  foreach(file IN ITEMS \"man|man1/lshdp.1|${CMAKE_INSTALL_MANDIR}/man1\"
                        \"completion;bash|bash/lshdp|${CMAKE_INSTALL_DATADIR}/bash-completion/completions\"
                        \"completion;zsh|zsh/_lshdp|${CMAKE_INSTALL_DATADIR}/zsh/site-functions\")
    string(REGEX MATCH \"^(.*)[|](.*)[|](.*)$\" whole \"\${file}\")
    set(command \${CMAKE_MATCH_1})
    set(path \"\${made}/\${CMAKE_MATCH_2}\")
    set(folder \"\${CMAKE_MATCH_3}\")
    get_filename_component(parent \"\${path}\" DIRECTORY)
    file(MAKE_DIRECTORY \"\${parent}\")
    execute_process(COMMAND \"$<TARGET_FILE:lshdp>\" \${command} OUTPUT_FILE \"\${path}\" COMMAND_ERROR_IS_FATAL ANY)
    file(INSTALL \"\${path}\" DESTINATION \"\${CMAKE_INSTALL_PREFIX}/\${folder}\")
  endforeach()")

# The wheel's libraries find each other by paths relative to themselves: these are kept.
if(LSHDP_INSTALL_LIBTORCH)
  get_filename_component(_wheels "${LSHDP_TORCH_DIR}" DIRECTORY)
  install(CODE "
    set(wheels \"${_wheels}\")
    set(to \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}/lshdp\")
    file(GET_RUNTIME_DEPENDENCIES EXECUTABLES \"$<TARGET_FILE:lshdp>\" RESOLVED_DEPENDENCIES_VAR libraries
         UNRESOLVED_DEPENDENCIES_VAR unresolved)
    foreach(library IN LISTS libraries)
      cmake_path(IS_PREFIX wheels \"\${library}\" NORMALIZE inside)
      if(inside)
        file(RELATIVE_PATH path \"\${wheels}\" \"\${library}\")
        get_filename_component(folder \"\${to}/\${path}\" DIRECTORY)
        file(INSTALL \"\${library}\" DESTINATION \"\${folder}\" FOLLOW_SYMLINK_CHAIN)
      endif()
    endforeach()")
endif()
