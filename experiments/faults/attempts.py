# One start of lshdp on ranks: its processes, whatever started them, its last step, its end within a limit.
import contextlib
import datetime
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import uuid

from experiments.machines import KILLED, ROOT, as_root, message_in

TAG = "LSHDP_ATTEMPT"
TAIL = 1 << 16  # bytes, at least one line of metrics.jsonl
LEAVE_SECONDS = 20  # in which the processes of a run that ended must be gone, and mpirun after its ranks


def local_launch(ranks):
    return ["mpirun", *as_root(), "--oversubscribe", "--bind-to", "none", "-np", str(ranks)]


def session_folder(folder):
    """Variables of Open MPI for its files in `folder`. It removes its folder when the last program of a user ends, and one that
    starts at that moment fails: a file named output-*, which it takes for the user's, keeps it."""
    keep = folder / f"ompi.{socket.gethostname()}.{os.geteuid()}" / "output-keep"
    keep.parent.mkdir(parents=True, exist_ok=True)
    keep.touch()
    return {"OMPI_MCA_orte_tmpdir_base": str(folder)}


def environment_of(pid):
    """The variables a process was started with; none if it is gone."""
    try:
        text = pathlib.Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)


def is_alive(pid):
    """A zombie is not: it only waits to be asked how it ended."""
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def now_text():
    """As metrics.jsonl writes times."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def last_step_record(run):
    """The last whole step record of a run's metrics; None if there is none."""
    try:
        with open(run / "metrics.jsonl", "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            lines = file.read().split(b"\n")[:-1]
    except OSError:
        return None
    for line in reversed(lines):
        if b'"record":"step"' in line:
            with contextlib.suppress(ValueError):
                return json.loads(line)
    return None


class Attempt:
    """lshdp under mpirun, `launch` before its own command line. Its processes carry a tag in their environment, by which
    they are found on emulated nodes as well."""

    def __init__(self, launch, command, run, log, environment=None):
        self.run, self.log, self.tag = run, log, uuid.uuid4().hex
        self.begun_text, self.begun_time, self.begun, self.ended = now_text(), time.time(), time.monotonic(), None
        self.launcher_hung = False
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "wb") as output:
            self.process = subprocess.Popen([*launch, *command], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                            cwd=ROOT, start_new_session=True,
                                            env={**os.environ, **(environment or {}), "OMP_NUM_THREADS": "1", TAG: self.tag})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill_all()

    # --- processes ---

    def members(self):
        """pid -> environment of all that this start has brought up."""
        found = {}
        for name in os.listdir("/proc"):
            if name.isdigit() and is_alive(name):
                environment = environment_of(name)
                if environment.get(TAG) == self.tag:
                    found[int(name)] = environment
        return found

    def ranks(self):
        """rank -> pid of those that have begun to be lshdp."""
        found = {}
        for pid, environment in self.members().items():
            with contextlib.suppress(OSError):
                if os.path.basename(os.readlink(f"/proc/{pid}/exe")) == "lshdp" and "OMPI_COMM_WORLD_RANK" in environment:
                    found[int(environment["OMPI_COMM_WORLD_RANK"])] = pid
        return found

    def wait_for_ranks(self, count, limit):
        """The same once all are there; fewer if the run ends or time runs out."""
        end = time.monotonic() + limit
        while len(ranks := self.ranks()) < count and not self.has_ended() and time.monotonic() < end:
            time.sleep(0.02)
        return ranks

    def kill_all(self):
        """Ends what is left, by force; returns what that was, in words."""
        left = {pid: environment.get("OMPI_COMM_WORLD_RANK") for pid, environment in self.members().items()}
        for pid in left:
            send(pid, signal.SIGKILL)
        self.process.wait()
        return [f"process {pid}" + (f" of rank {rank}" if rank else "") for pid, rank in left.items()]

    def wait_without_ranks(self, limit):
        """As wait(), of a start whose ranks were killed. Where all of them are gone but mpirun does not notice, which happens to
        those that are killed while they start, it is ended, and `launcher_hung` set."""
        end, seen = time.monotonic() + limit, time.monotonic()
        while self.wait(1) is None and time.monotonic() < end:
            if self.ranks():
                seen = time.monotonic()
            elif time.monotonic() > seen + LEAVE_SECONDS:
                self.launcher_hung = True
                self.kill_all()
        return self.code() if self.has_ended() else None

    def left_behind(self):
        """What of an ended run does not go by itself."""
        end = time.monotonic() + LEAVE_SECONDS
        while self.members() and time.monotonic() < end:
            time.sleep(0.1)
        return self.kill_all()

    # --- progress ---

    def has_ended(self):
        if self.ended is None and self.process.poll() is not None:
            self.ended = time.monotonic()
        return self.ended is not None

    def wait(self, limit):
        """The exit code, 128 + signal where mpirun was killed; None if it does not end within `limit` seconds."""
        end = time.monotonic() + limit
        while not self.has_ended() and time.monotonic() < end:
            time.sleep(0.02)
        return self.code() if self.has_ended() else None

    def code(self):
        code = self.process.returncode
        return code if code is None or code >= 0 else 128 - code

    def step(self):
        """The last step that this start has done; None before its first."""
        record = last_step_record(self.run)
        return record["step"] if record and record["time"] >= self.begun_text else None

    def wait_for_step(self, limit, beyond=0):
        """Waits for a step of this start after `beyond`; False if the run ends or time runs out before it."""
        end = time.monotonic() + limit
        while (self.step() or 0) <= beyond:
            if self.has_ended() or time.monotonic() > end:
                return False
            time.sleep(0.005)
        return True

    def wait_for_words(self, limit):
        """When rank 0 logged its first line, which is soon after MPI is up; the end of the wait if it never does."""
        end = time.monotonic() + limit
        while not re.search(r"^I ", self.text(), re.MULTILINE) and not self.has_ended() and time.monotonic() < end:
            time.sleep(0.01)
        return time.monotonic()

    # --- words ---

    def text(self):
        return self.log.read_text(encoding="utf-8", errors="replace")

    def message(self):
        """The line that says what was wrong; of a rank that was killed, only that."""
        text = self.text()
        killed = KILLED.search(" ".join(text.split()))
        return f"rank {killed[1]} ({killed[2]}) was killed" if killed else message_in(text, self.code())

    def write_stacks(self, path):
        """Where each thread of each rank stands, for a run that hangs."""
        with open(path, "w") as file:
            for rank, pid in sorted(self.ranks().items()):
                file.write(f"--- rank {rank}, process {pid}\n")
                file.flush()
                if shutil.which("gdb"):
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        subprocess.run(["gdb", "-batch", "-p", str(pid), "-ex", "thread apply all bt 25"], stdout=file,
                                       stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=60, check=False)


def send(pid, number):
    """A signal to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
