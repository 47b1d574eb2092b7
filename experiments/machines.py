# Where commands run: on emulated nodes (scripts/cluster.sh), or on the real nodes of a host file.
import contextlib
import fcntl
import os
import pathlib
import re
import signal
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


class CommandFailed(Exception):
    """A command ended badly; str() is its own message, in one line."""

    def __init__(self, message, code):
        super().__init__(message)
        self.code = code


SPEAKERS = ("lshdp", "cluster:", "baselines:", "train.py: error:")


KILLED = re.compile(r"process rank (\d+) with PID \d+ on node (\S+) exited on signal 9")


def message_in(log, code):
    """The line in which a program said what is wrong; around it stands what mpirun adds. A killed rank comes before what the
    others say of the connection they lost."""
    killed = KILLED.search(" ".join(log.split()))
    if killed:
        return f"rank {killed[1]} ({killed[2]}) was killed by the kernel (signal 9), most likely for want of memory (exit code {code})"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    spoken = [line for line in lines if line.startswith(SPEAKERS)]
    errors = [line for line in lines if "Error" in line]
    said = (spoken or errors[-1:] or lines[-1:] or ["no output"])[0]
    return f"{said} (exit code {code})" if not spoken else said


def run(command, log_path, timeout, environment=None):
    """Runs to the end, all output in the log. Interrupted or out of time, it takes the command's processes along."""
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with open(log_path, "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT,
                                   start_new_session=True, env={**os.environ, **(environment or {})})
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise CommandFailed(f"did not end within {timeout:.0f} s", 1) from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM if process.poll() is None else signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if code != 0:
        raise CommandFailed(message_in(log_path.read_text(encoding="utf-8", errors="replace"), code), code)


def as_root():
    """What mpirun wants to hear of root."""
    return ["--allow-run-as-root"] if os.geteuid() == 0 else []


class EmulatedCluster:
    """Nodes on this machine. Only one experiment at a time uses the cluster of a name."""

    def __init__(self, name, cluster, log_folder):
        self.base = ["bash", str(ROOT / "scripts/cluster.sh"), "--name", name]
        self.cluster, self.logs = cluster, log_folder
        self.environment = {"MASTER_ADDR": "10.77.0.1"}

    def __enter__(self):
        self.down()  # what a crash may have left
        command = [*self.base, "up", "--cpus", ",".join(f"{cpu:g}" for cpu in self.cluster.cpus),
                   "--rate", ",".join(self.cluster.rates)]
        run(command + (["--delay", self.cluster.delay] if self.cluster.delay else []), self.logs / "up.log", 120)
        return self

    def __exit__(self, *_):
        self.down()

    def down(self):
        run([*self.base, "down"], self.logs / "down.log", 120)

    def launch(self, command):
        return [*self.base, "run", "-x", "MASTER_ADDR", "-x", "TORCHINDUCTOR_CACHE_DIR", *command]


class HostFile:
    """Real nodes, one rank on each, which uses all its cores."""

    def __init__(self, hosts, cluster, log_folder):
        self.hosts, self.cluster, self.logs = hosts, cluster, log_folder
        names = [line.split()[0] for line in pathlib.Path(hosts).read_text().splitlines()
                 if line.strip() and not line.strip().startswith("#")]
        if len(names) < cluster.nodes:
            raise CommandFailed(f"{hosts}: {len(names)} hosts, but cluster {cluster.name} has {cluster.nodes} nodes", 2)
        self.environment = {"MASTER_ADDR": names[0]}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def launch(self, command):
        return ["mpirun", *as_root(), "--hostfile", self.hosts, "-np", str(self.cluster.nodes), "--map-by", "ppr:1:node",
                "--bind-to", "none", "-x", "MASTER_ADDR", *command]


def made():
    """Processor, cores and revision, as far as they can be told: what a record was measured on."""
    names = []
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        flags = next((line.split() for line in lines if line.startswith("flags")), [])
        widest = next((name for flag, name in (("amx_tile", "AMX"), ("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "")
    done = subprocess.run(["git", "describe", "--always", "--dirty", "--exclude", "*"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {"machine": f"{len(names)} cores of {names[0]} {widest}".strip() if names else "an unknown processor",
            "revision": done.stdout.strip() or "an unknown revision"}


@contextlib.contextmanager
def exclusive(name):
    """Holds the name of a cluster for this process; a process that dies gives it up."""
    with open(pathlib.Path(tempfile.gettempdir()) / f"lshdp-experiments-{name}.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandFailed(f"another experiment uses the cluster {name}; choose another --cluster", 1) from None
        yield
