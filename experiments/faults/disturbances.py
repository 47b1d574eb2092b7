# The emulated cluster of a soak, and the ways to disturb a run on it.
import signal
import subprocess

from experiments.faults import damage
from experiments.faults.attempts import send
from experiments.faults.kills import wait_for_save
from experiments.faults.training import checkpoint_folders
from experiments.machines import ROOT, CommandFailed

# Percent of a core. Nodes 0 to 2 are disturbed; of the others, two each are for runs that are left alone.
SHARES = (16, 16, 12, 6, 6, 6, 6)
DISTURBED = (0, 1, 2)
SHORT_SECONDS, LONG_SECONDS = (1, 4), (15, 40)  # of freezes, cut and lossy links


class Cluster:
    """scripts/cluster.sh up, and the ways to disturb its nodes."""

    def __init__(self, name):
        self.name = name
        self.base = ["bash", str(ROOT / "scripts/cluster.sh"), "--name", name]

    def __enter__(self):
        self.call(*self.base, "down")  # what a crash may have left
        self.call(*self.base, "up", "--cpus", ",".join(map(str, SHARES)))
        return self

    def __exit__(self, *_):
        self.call(*self.base, "down")

    def launch(self, nodes):
        return [*self.base, "run", "--nodes", ",".join(map(str, nodes))]

    def set_share(self, node, percent):
        self.call(*self.base, "set", str(node), "--cpu", f"{percent:g}")

    def cut(self, node):
        self.call("ip", "-n", self.space(node), "link", "set", "eth0", "down")

    def join(self, node):
        self.call("ip", "-n", self.space(node), "link", "set", "eth0", "up")

    def lose(self, node):
        """All packets from and to the node, while its link is up: the switch does not forward them."""
        self.set_port(node, "disabled")

    def find(self, node):
        self.set_port(node, "forwarding")

    def set_port(self, node, state):
        self.call("bridge", "-n", f"{self.name}-sw", "link", "set", "dev", f"port{node}", "state", state)

    def space(self, node):
        return f"{self.name}-n{node}"

    @staticmethod
    def call(*command):
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise CommandFailed(f"{' '.join(command)}: {done.stderr.strip()}", 1)


class Disturbances:
    """Each is told of the start that runs, may end it, undoes what it did to the machine, and says in words what it was."""

    def __init__(self, rng, cluster, disk, limit):
        self.rng, self.cluster, self.disk, self.limit = rng, cluster, disk, limit
        self.damaged = None  # the newest checkpoint, where the last one has damaged it
        self.killed = False  # a rank, since this was set
        self.by_name = {"kill": self.kill, "kill in a save": self.kill_in_save, "freeze": self.freeze, "link cut": self.cut,
                        "link loses all": self.lose, "disk full": self.fill, "checkpoint damaged": self.kill_and_damage,
                        "CPU share": self.share}

    def length(self):
        return self.rng.uniform(*self.rng.choice((SHORT_SECONDS, LONG_SECONDS)))

    def one_rank(self, attempt):
        ranks = attempt.ranks()
        rank = self.rng.choice(sorted(ranks)) if ranks else None
        return rank, ranks.get(rank)

    def kill(self, attempt):
        rank, pid = self.one_rank(attempt)
        if pid:
            send(pid, signal.SIGKILL)
            self.killed = True
        return f"rank {rank}"

    def kill_in_save(self, attempt):
        if not wait_for_save(attempt, 0, self.limit):
            return "no save came"
        return self.kill(attempt)

    def freeze(self, attempt):
        rank, pid = self.one_rank(attempt)
        seconds = self.length()
        if pid:
            send(pid, signal.SIGSTOP)
            attempt.wait(seconds)
            send(pid, signal.SIGCONT)
        return f"rank {rank} for {seconds:.0f} s"

    def cut(self, attempt):
        return self.for_a_while(attempt, self.cluster.cut, self.cluster.join)

    def lose(self, attempt):
        return self.for_a_while(attempt, self.cluster.lose, self.cluster.find)

    def for_a_while(self, attempt, do, undo):
        node, seconds = self.rng.choice(DISTURBED), self.length()
        do(node)
        try:
            attempt.wait(seconds)
        finally:
            undo(node)
        return f"node {node} for {seconds:.0f} s"

    def fill(self, attempt):
        """Room for a part of the next checkpoint, or for none of it."""
        complete, _ = checkpoint_folders(attempt.run)
        size = sum(path.stat().st_size for path in complete[-1].iterdir()) if complete else 1 << 20
        room = self.rng.randrange(size)
        self.disk.limit(size=self.disk.used()[0] + room)
        try:
            attempt.wait(self.limit / 4)
        finally:
            self.disk.limit()
        return f"{room} bytes were left"

    def kill_and_damage(self, attempt):
        """The newest checkpoint of a killed run, where there is one before it."""
        killed = self.kill(attempt)
        if attempt.wait(self.limit) is None:
            return killed
        attempt.left_behind()
        complete, _ = checkpoint_folders(attempt.run)
        if len(complete) < 2:
            return f"{killed}; no checkpoint but one to damage"
        kind, files = damage.damage(self.rng, complete[-1], complete[-2])
        self.damaged = complete[-1].name
        return f"{killed}; {kind} in {', '.join(files)} of {complete[-1].name}"

    def share(self, _):
        node = self.rng.choice(DISTURBED)
        percent = SHARES[node] * self.rng.uniform(0.3, 1.0)
        self.cluster.set_share(node, percent)
        return f"node {node} at {percent:.0f} %"
