#!/usr/bin/env python3
# Gathers a bundle: programs, launcher, Open MPI with its plugins, and every library but libc, the driver and PyTorch's wheel.
"""
    gather.py --to DIR --torch DIR --probe FILE --arc4random FILE [--cuda] --program FILE ...

What is found must need no newer glibc than GLIBC: it is measured from the symbols of each file, and a file that needs
newer ones ends this with an error, unless ARC4RANDOM has them.
"""
import argparse
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys

GLIBC = (2, 34)
# Symbols of newer versions that liblshdp_arc4random.so has as well.
SUPPLIED = {"arc4random", "arc4random_buf"}
# Of libc, of the driver, of the compiler, and what PyTorch's wheel brings or needs from the system itself.
LEFT_OUT = re.compile(r"(ld-linux-x86-64|libc|libm|libdl|librt|libpthread|libresolv|libutil|libanl|libcuda|libnvidia-ml|libgcc_s|"
                      r"libstdc\+\+|libgomp|libc10|libc10_cuda|libtorch\w*|libcudart|libcupti|libcublas|libcublasLt|libcudnn\w*|"
                      r"libnccl|libcufft|libcurand|libcusolver|libcusparse|libcusparseLt|libcufile|libnvrtc|libnvJitLink|"
                      r"libnvshmem\w*)\.so\b.*")
# Networks that need drivers, and parts of Open MPI that we do not call.
PLUGINS_LEFT_OUT = re.compile(r"mca_(\w+_(ucx|ofi|psm|psm2|openib|flux|monitoring)|"
                              r"(atomic|memheap|scoll|spml|sshmem|io|fs|fbtl|fcoll|sharedfp|vprotocol)_\w+|pml_cm)\.so|libompi_dbg_msgq\.so")
LOADED_BY_NAME = ["libdnnl.so.2"]


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def needed_libraries(path):
    """{name: file or None} of all that the loader would load for `path`."""
    found = {}
    for line in run("ldd", path).splitlines():
        match = re.match(r"\s*(\S+) => (not found|/\S+)", line)
        if match:
            found[match[1]] = None if match[2] == "not found" else match[2]
    return found


def system_library(name):
    """Where the loader finds a library by its name."""
    for line in run("/sbin/ldconfig", "-p").splitlines():
        match = re.match(rf"\s*{re.escape(name)} \(libc6,x86-64\) => (\S+)", line)
        if match:
            return match[1]
    raise SystemExit(f"gather: {name} is not on this machine")


class Bundle:
    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.placed = {}  # name of a library -> where it came from

    def copy(self, source, place, rpath=None):
        """One stripped ELF file, which looks for libraries where `rpath` says first."""
        target = self.root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(os.path.realpath(source), target)
        target.chmod(0o755)
        run("strip", "--strip-unneeded", target)
        # DT_RPATH, which goes before LD_LIBRARY_PATH: another Open MPI that is loaded by habit must not come between.
        if rpath:
            run("patchelf", "--force-rpath", "--set-rpath", rpath, target)
        return target

    def add_with_libraries(self, source, place, rpath):
        target = self.copy(source, place, rpath)
        self.add_libraries_of(source)
        return target

    def add_libraries_of(self, source):
        for name, path in needed_libraries(source).items():
            if LEFT_OUT.fullmatch(name) or name in self.placed:
                continue
            if path is None:
                raise SystemExit(f"gather: {name}, which {source} needs, is not on this machine")
            self.placed[name] = path
            self.copy(path, f"lib/{name}", "$ORIGIN")


def gather_open_mpi(bundle):
    paths = dict(re.findall(r"^\s*(\w+): (/\S+)$", run("ompi_info", "--path", "all"), re.MULTILINE))
    for plugin in sorted(pathlib.Path(paths["Pkglibdir"]).glob("*.so")):
        if not PLUGINS_LEFT_OUT.fullmatch(plugin.name):
            bundle.add_with_libraries(plugin, f"lib/openmpi/{plugin.name}", "$ORIGIN/..")
    for program, name in (("orterun", "mpirun"), ("orted", "orted")):
        bundle.add_with_libraries(pathlib.Path(paths["Bindir"]) / program, f"libexec/{name}", "$ORIGIN/../lib")
    copy_texts(pathlib.Path(paths["Pkgdatadir"]), bundle.root / "share/openmpi", "help-*.txt")
    copy_texts(pathlib.Path(paths["Sysconfdir"]), bundle.root / "etc/openmpi", "openmpi-*")
    pmix = pathlib.Path(os.path.realpath(system_library("libpmix.so.2"))).parent.parent
    for plugin in sorted((pmix / "lib/pmix").glob("*.so")):
        bundle.add_with_libraries(plugin, f"lib/pmix/{plugin.name}", "$ORIGIN/..")
    copy_texts(pmix / "share/pmix", bundle.root / "share/pmix", "help-*.txt")


def copy_texts(source, target, pattern):
    target.mkdir(parents=True, exist_ok=True)
    for path in source.glob(pattern):
        shutil.copy(path, target / path.name)


def newest_glibc(path):
    """(version, symbols that need more than GLIBC) by the symbols that `path` takes from others."""
    newest, newer = (0, 0), set()
    for line in run("objdump", "-T", path).splitlines():
        match = re.search(r"\*UND\*.*\bGLIBC_(\d+)\.(\d+)(?:\.\d+)?\)?\s+(\S+)$", line)
        if match:
            version = (int(match[1]), int(match[2]))
            newest = max(newest, version)
            if version > GLIBC:
                newer.add(match[3])
    return newest, newer


def section(data, wanted):
    """(offset, size, link) of a section of a little-endian 64-bit ELF file."""
    table, = struct.unpack_from("<Q", data, 0x28)
    entry, count, names = struct.unpack_from("<HHH", data, 0x3A)
    headers = [struct.unpack_from("<IIQQQQII", data, table + i * entry) for i in range(count)]
    strings = headers[names][4]
    for name, _, _, _, offset, size, link, _ in headers:
        if data[strings + name:data.index(b"\0", strings + name)].decode() == wanted:
            return offset, size, headers[link][4] if link else 0
    raise SystemExit(f"gather: a library without {wanted}")


def version_entries(data):
    """(place of the entry, index, name) of each version that the file needs of another."""
    offset, _, strings = section(data, ".gnu.version_r")
    at = offset
    while True:
        _, count, _, first, following = struct.unpack_from("<HHIII", data, at)
        entry = at + first
        for _ in range(count):
            _, _, index, name, next_entry = struct.unpack_from("<IHHII", data, entry)
            yield entry, index, data[strings + name:data.index(b"\0", strings + name)].decode()
            entry += next_entry
        if not following:
            return
        at += following


def loosen(path, symbols):
    """Takes `symbols` from whichever library has them, of any version, and asks for no version above GLIBC."""
    data = bytearray(path.read_bytes())
    entries = list(version_entries(data))
    oldest = next(entry for entry, _, name in entries if name == "GLIBC_2.2.5")
    newer = [(entry, index) for entry, index, name in entries
             if (match := re.fullmatch(r"GLIBC_(\d+)\.(\d+)", name)) and (int(match[1]), int(match[2])) > GLIBC]
    versions, size, _ = section(data, ".gnu.version")
    for number in range(size // 2):
        index, = struct.unpack_from("<H", data, versions + 2 * number)
        if index in {index for _, index in newer}:
            struct.pack_into("<H", data, versions + 2 * number, 1)  # of no version
    for entry, _ in newer:
        data[entry:entry + 4] = data[oldest:oldest + 4]            # the hash of the name
        data[entry + 8:entry + 12] = data[oldest + 8:oldest + 12]  # the name
    path.write_bytes(data)
    run("patchelf", "--add-needed", "liblshdp_arc4random.so", path)
    print(f"gather: {path.name} takes {', '.join(sorted(symbols))} from liblshdp_arc4random.so where libc has none")


def elf_files(root):
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    yield path


def require_old_glibc(root):
    newest, who = (0, 0), None
    for path in elf_files(root):
        if newest_glibc(path)[1] and newest_glibc(path)[1] <= SUPPLIED:
            loosen(path, newest_glibc(path)[1])
        version, newer = newest_glibc(path)
        if newer:
            raise SystemExit(f"gather: {path} needs glibc {version[0]}.{version[1]} for {', '.join(sorted(newer))}")
        newest, who = max((newest, who), (version, path.name), key=lambda pair: pair[0])
    print(f"gather: the newest glibc that a file needs is {newest[0]}.{newest[1]} ({who})")


def torch_version(torch):
    match = re.search(r"^__version__ = '(\d+\.\d+)\.", (pathlib.Path(torch) / "version.py").read_text(), re.MULTILINE)
    if not match:
        raise SystemExit(f"gather: {torch} does not say its version")
    return match[1]


def write_launcher(bundle, programs, options):
    bin_folder = bundle.root / "bin"
    bin_folder.mkdir(parents=True, exist_ok=True)
    launcher = bin_folder / "lshdp-run"
    shutil.copy(pathlib.Path(__file__).parent / "launcher.sh", launcher)
    launcher.chmod(0o755)
    for name in [*programs, "mpirun", "orted"]:
        (bin_folder / name).symlink_to(launcher.name)
    (bundle.root / "etc/bundle.conf").write_text(
        f"# What this bundle was built for.\nbundle_torch={torch_version(options.torch)}\nbundle_cuda={'yes' if options.cuda else 'no'}\n")


def main():
    parser = argparse.ArgumentParser(description="Gathers the files of a bundle.")
    parser.add_argument("--to", required=True, help="folder to make, or an empty one")
    parser.add_argument("--torch", required=True, help="the wheel's folder torch that the programs were linked to")
    parser.add_argument("--probe", required=True, help="program newest_symbols")
    parser.add_argument("--arc4random", required=True, help="liblshdp_arc4random.so")
    parser.add_argument("--cuda", action="store_true", help="the programs need a wheel with CUDA")
    parser.add_argument("--program", action="append", default=[], help="a program to take along")
    options = parser.parse_args()
    for tool in ("patchelf", "strip", "objdump", "ldd", "ompi_info"):
        if not shutil.which(tool):
            raise SystemExit(f"gather: the program {tool} is missing: run scripts/bundle.sh, which installs what it needs")
    bundle = Bundle(options.to)
    if bundle.root.exists() and any(bundle.root.iterdir()):
        raise SystemExit(f"gather: {options.to} is not empty")
    for program in options.program:
        bundle.add_with_libraries(program, f"libexec/{os.path.basename(program)}", "$ORIGIN/../lib")
    gather_open_mpi(bundle)
    for name in LOADED_BY_NAME:
        path = system_library(name)
        bundle.placed[name] = path
        bundle.copy(path, f"lib/{name}", "$ORIGIN")
        bundle.add_libraries_of(path)
    bundle.copy(options.probe, "libexec/newest_symbols")
    bundle.copy(options.arc4random, "lib/liblshdp_arc4random.so")
    bundle.copy(system_library("libstdc++.so.6"), "lib/older-systems/libstdc++.so.6", "$ORIGIN/..")
    write_launcher(bundle, [os.path.basename(program) for program in options.program], options)
    require_old_glibc(bundle.root)


if __name__ == "__main__":
    sys.exit(main())
