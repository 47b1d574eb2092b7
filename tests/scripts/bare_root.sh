#!/usr/bin/env bash
# Makes a root file system of nothing but a Debian's essential packages and Python: no MPI, no HDF5, no compiler.
# usage: bare_root.sh DIR [SUITE MIRROR]   With SUITE by debootstrap, otherwise from the packages installed here, without network.
set -euo pipefail
dir=${1:?which folder?}

if [[ $# -gt 1 ]]; then
  debootstrap --variant=minbase --include=python3,libstdc++6 "$2" "$dir" "${3:-http://deb.debian.org/debian}"
  exit
fi

# What is essential, then what that depends on, of what is installed: of alternatives whichever is here.
closure() {
  dpkg-query -W -f '${db:Status-Status}\t${Essential}\t${Package}\t${Pre-Depends}, ${Depends}\n' | awk -F '\t' '
    $1 != "installed" { next }
    { needs[$3] = $4; if ($2 == "yes") queue[++last] = $3 }
    END {
      queue[++last] = "python3-minimal"; queue[++last] = "libstdc++6"
      for (at = 1; at <= last; ++at) {
        if (queue[at] in seen || !(queue[at] in needs)) continue
        seen[queue[at]] = 1
        print queue[at]
        count = split(needs[queue[at]], each, /[,|] */)
        for (i = 1; i <= count; ++i) { sub(/[ :(].*/, "", each[i]); queue[++last] = each[i] }
      }
    }'
}

mkdir -p "$dir"/{usr/bin,usr/sbin,usr/lib,usr/lib64,dev,proc,sys,tmp,root,etc,opt}
for name in bin sbin lib lib64; do ln -s "usr/$name" "$dir/$name"; done
closure | xargs dpkg -L | sort -u | while read -r path; do
  if [[ $path == /usr/share/* || $path == /. ]]; then continue; fi # manuals and the like
  if [[ -L $path || -f $path ]]; then echo "${path#/}"; fi
done | tar -C / -cf - --no-recursion -T - | tar -C "$dir" -xf - --keep-directory-symlink
