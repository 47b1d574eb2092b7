# The ways in which experiments/standstill.py breaks a rank of the emulated cluster, each undone when a trial ends.
import contextlib
import ctypes
import dataclasses
import os
import pathlib
import signal
import subprocess
import threading
import time
import typing

from experiments.machines import CommandFailed

CGROUP = pathlib.Path("/sys/fs/cgroup")
SECONDS = 60  # that a command of the fault may take
DATA_SAMPLES = 90_000  # 276 MB: more than ranks hold in memory
SWAP_MIB = 1024
SWAP_BYTES_PER_SECOND = 100_000  # that come back of what was swapped out
SWAP_PUSHES = 20
KEPT_MIB = 16  # of the node's memory
SWAP_OUT, PROCESS_MADVISE, PIDFD_OPEN = 21, 440, 434  # numbers of Linux: MADV_PAGEOUT and two system calls


def command(*parts, check=True):
    return subprocess.run([str(part) for part in parts], check=check, timeout=SECONDS, capture_output=True, text=True).stdout.strip()


# --- the processes of ranks ----------------------------------------------------------------------------------------------

def is_version_2():
    return (CGROUP / "cgroup.controllers").exists()


def group_of(cluster, node, controller):
    root = CGROUP if is_version_2() else CGROUP / controller
    return root / f"lshdp-{cluster}" / f"node{node}"


def is_alive(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    return False


def ranks_of(cluster, nodes):
    """The process of each rank; a node has one."""
    found = {}
    for node in range(nodes):
        for pid in (group_of(cluster, node, "cpu") / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == "lshdp":
                    found[node] = int(pid)
    if len(found) != nodes:
        raise CommandFailed(f"{len(found)} ranks are there of {nodes}", 1)
    return found


# --- where a trial takes place -------------------------------------------------------------------------------------------

@dataclasses.dataclass
class Site:
    cluster: str
    rank: int
    work: pathlib.Path
    nodes: int
    data: pathlib.Path
    device: str = ""  # a disk that only this trial uses

    def port(self, rank=None):
        return f"port{self.rank if rank is None else rank}"

    def switch(self):
        return f"{self.cluster}-sw"


def make_data(folder, program):
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "data.h5").exists():
        command(program, "data", "synthetic-images", "--count", DATA_SAMPLES, "--channels", 3, "--size", 32, "--classes", 10,
                "--seed", 1, "--out", folder / "data.h5")


def nothing(_site, _leave):
    pass


# --- faults --------------------------------------------------------------------------------------------------------------

def kill(site, pids):
    os.kill(pids[site.rank], signal.SIGKILL)


def freeze(site, pids):
    os.kill(pids[site.rank], signal.SIGSTOP)


def cut_link(site, _pids):
    command("ip", "-n", site.switch(), "link", "set", site.port(), "down")


def lose_all_packets(site, _pids):
    """The link stays up; the switch drops what comes and what goes."""
    command("bridge", "-n", site.switch(), "link", "set", "dev", site.port(), "state", 0)


def loop_device(site, leave, mib):
    image = site.work / "disk.img"
    command("fallocate", "-l", f"{mib}MiB", image)
    site.device = command("losetup", "--find", "--show", image)
    leave.callback(lambda: command("losetup", "--detach", site.device, check=False))
    leave.callback(lambda: throttle_no_more(site))


def number_of(device):
    number = os.stat(device).st_rdev
    return f"{os.major(number)}:{os.minor(number)}"


def limit_reading(site, group, bytes_per_second):
    """From the site's device; 0: no limit."""
    (group / "blkio.throttle.read_bps_device").write_text(f"{number_of(site.device)} {bytes_per_second}")


def throttle(site, pid, bytes_per_second):
    """What the process reads from the site's device."""
    if is_version_2():
        (group_of(site.cluster, site.rank, "io") / "io.max").write_text(f"{number_of(site.device)} rbps={bytes_per_second}")
        return
    group = CGROUP / "blkio" / f"lshdp-{site.cluster}"
    group.mkdir(exist_ok=True)
    limit_reading(site, group, bytes_per_second)
    (group / "cgroup.procs").write_text(str(pid))


def throttle_no_more(site):
    """The process of the group ends with it."""
    group = CGROUP / "blkio" / f"lshdp-{site.cluster}"
    if is_version_2():
        return
    limit_reading(site, CGROUP / "blkio", 0)
    if not group.exists():
        return
    limit_reading(site, group, 0)
    for _ in range(100):
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                os.kill(int(pid), signal.SIGKILL)
        with contextlib.suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.1)


def add_swap(site, leave):
    other = pathlib.Path("/proc/swaps").read_text().splitlines()[1:]
    if other:
        raise CommandFailed(f"swap: memory would go to {other[0].split()[0]}, which answers: swapoff it for these trials", 2)
    loop_device(site, leave, SWAP_MIB)
    command("mkswap", site.device)
    command("swapon", site.device)
    leave.callback(lambda: remove_swap(site))
    leave.callback(lambda: throttle_no_more(site))


def remove_swap(site):
    """What is in it has to come back, for which a node that may keep little has no room: its processes go first."""
    last = time.monotonic() + SECONDS
    while True:
        for pid in (group_of(site.cluster, site.rank, "cpu") / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                os.kill(int(pid), signal.SIGKILL)
        try:
            command("swapoff", site.device)
            return
        except subprocess.CalledProcessError as error:
            if time.monotonic() > last:
                raise CommandFailed(f"swapoff {site.device}: {error.stderr.strip()}", 1) from error
        time.sleep(0.5)


class Stretch(ctypes.Structure):
    _fields_ = (("begin", ctypes.c_void_p), ("bytes", ctypes.c_size_t))


def swap_out(site, pids):
    """All memory of its own that the process has goes to swap, from which it comes back slowly, and its node may keep little
    of it. What has been written is given up only where memory is wanted: so the limit is set again and again."""
    pid = pids[site.rank]
    if is_version_2():
        throttle(site, pid, SWAP_BYTES_PER_SECOND)
    else:
        limit_reading(site, CGROUP / "blkio", SWAP_BYTES_PER_SECOND)  # the kernel counts swap as its own
    system = ctypes.CDLL(None, use_errno=True).syscall
    handle = system(PIDFD_OPEN, pid, 0)
    limit = group_of(site.cluster, site.rank, "memory") / ("memory.high" if is_version_2() else "memory.limit_in_bytes")

    def push():
        for _ in range(SWAP_PUSHES):
            for begin, end in own_memory(pid):
                system(PROCESS_MADVISE, handle, ctypes.byref(Stretch(begin, end - begin)), ctypes.c_size_t(1), SWAP_OUT, 0)
            with contextlib.suppress(OSError):
                limit.write_text(f"{KEPT_MIB}M")
            time.sleep(0.1)
        os.close(handle)

    threading.Thread(target=push, daemon=True).start()


def own_memory(pid):
    """Where a process may write what is in no file."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
            parts = line.split()
            if "w" in parts[1] and (len(parts) < 6 or parts[5].startswith("[")):
                yield tuple(int(part, 16) for part in parts[0].split("-"))


def mount_disk(site, leave):
    """A disk of its own for the data."""
    loop_device(site, leave, 512)
    folder = site.work / "disk"
    folder.mkdir()
    command("mkfs.ext4", "-q", site.device)
    command("mount", site.device, folder)
    leave.callback(lambda: command("umount", "--lazy", folder, check=False))
    leave.callback(lambda: throttle_no_more(site))  # else unmounting waits for what is still to be read
    command("cp", site.work.parent / "data.h5", folder / "data.h5")
    command("sync", "-f", folder)
    site.data = folder / "data.h5"


def stall_disk(site, pids):
    """From now on the rank gets a byte a second from the disk; what was read before is forgotten."""
    throttle(site, pids[site.rank], 1)
    with open(site.data, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def isolate_pair(site, _leave):
    """Two nodes reach all others, but not each other, as behind a firewall."""
    for rank in (site.rank, site.rank - 1 if site.rank > 1 else site.nodes - 1):
        command("bridge", "-n", site.switch(), "link", "set", "dev", site.port(rank), "isolated", "on")


@dataclasses.dataclass(frozen=True)
class Kind:
    name: str
    title: str
    strike: typing.Callable  # (site, pids): in mid-run
    prepare: typing.Callable = nothing  # (site, stack of what is to be undone): before the run
    first_rank: int = 0  # that it can hit
    in_mid_run: bool = True
    launcher_ends: bool = True  # mpirun ends, too, within the time of a trial
    mpirun: tuple = ()  # what it is told


KINDS = (
    Kind("kill", "process killed (SIGKILL)", kill),
    Kind("freeze", "process frozen (SIGSTOP)", freeze),
    Kind("swap", f"memory swapped out (comes back at {SWAP_BYTES_PER_SECOND // 1000} KB/s)", swap_out, add_swap),
    Kind("cut", "link cut (down at the switch)", cut_link, first_rank=1, launcher_ends=False),
    Kind("noticed", "link cut, and mpirun is told to notice (oob_tcp_keepalive_time 10, .._intvl 2, .._probes 5)", cut_link, first_rank=1,
         mpirun=("--mca", "oob_tcp_keepalive_time", 10, "--mca", "oob_tcp_keepalive_intvl", 2, "--mca", "oob_tcp_keepalive_probes", 5)),
    Kind("loss", "link drops all packets", lose_all_packets, first_rank=1, launcher_ends=False),
    Kind("disk", "disk does not answer (reads at 1 B/s)", stall_disk, mount_disk),
    Kind("pair", "two nodes do not reach each other any more", lambda site, _pids: isolate_pair(site, None), first_rank=1),
    Kind("start", "two nodes do not reach each other at the start", nothing, isolate_pair, first_rank=1, in_mid_run=False),
)
