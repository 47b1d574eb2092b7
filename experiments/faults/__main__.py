# The command behind scripts/soak.sh.
import argparse
import contextlib
import fcntl
import json
import pathlib
import shutil
import signal
import sys
import time

from experiments.command import require_built
from experiments.faults import damage, full_disk, kills, restart, soak
from experiments.faults.training import CASES
from experiments.machines import ROOT, CommandFailed, exclusive, made

LSHDP = ROOT / "build/lshdp"


def add_common_options(parser):
    parser.add_argument("--seed", type=int, default=1, help="what is drawn at random follows from it (default: 1)")
    parser.add_argument("--out", default="runs/soak", metavar="DIR", help="results go to DIR/TRIAL (default: runs/soak)")
    parser.add_argument("--limit", type=float, default=180, metavar="SECONDS", help="a start that takes longer hangs (default: 180)")
    parser.add_argument("--lshdp", type=pathlib.Path, default=LSHDP, metavar="FILE", help="the program (default: build/lshdp)")
    parser.add_argument("--train-options", default="", metavar="TEXT", help="more options of lshdp train, separated by spaces")


def add_cases(parser, default):
    parser.add_argument("--cases", default=default, metavar="NAME,..", help=f"of {', '.join(CASES)} (default: {default})")


def add_steps(parser, steps, every):
    parser.add_argument("--steps", type=int, default=steps, help=f"of each run, a multiple of --every (default: {steps})")
    parser.add_argument("--every", type=int, default=every, metavar="K", help=f"a checkpoint every K steps (default: {every})")


def make_parser():
    parser = argparse.ArgumentParser(prog="scripts/soak.sh", description="Trials of what a run survives.",
                                     epilog="example: scripts/soak.sh 2; scripts/soak.sh kills 200 --seed 7")
    trials = parser.add_subparsers(dest="trial", required=True, metavar="TRIAL")

    def trial(name, count, kind, help_text):
        one = trials.add_parser(name, help=help_text, description=help_text)
        one.add_argument("count", nargs="?", type=kind, default=count, metavar="HOURS" if name == "soak" else "N", help=f"(default: {count})")
        add_common_options(one)
        return one

    one = trial("soak", 2.0, float, "hours of disturbances on an emulated cluster, beside runs that are left alone; needs root")
    add_steps(one, 4000, 50)
    one.add_argument("--cluster", default="soak", metavar="NAME", help="name of the emulated cluster (default: soak)")
    one = trial("kills", 200, int, "kills random ranks of runs at random instants")
    add_steps(one, 400, 10)
    add_cases(one, ",".join(CASES))
    one = trial("damage", 2000, int, "damages checkpoints")
    one.add_argument("--resumes", type=int, default=50, help="resumes from a damaged one (default: 50)")
    one = trial("full-disk", 50, int, "fills disks at random bytes of runs; needs root")
    add_steps(one, 100, 10)
    add_cases(one, "ddp,lsdp,pipeline")
    one = trial("restart", 20, int, "times the way from a kill to training again")
    add_steps(one, 0, 25)
    add_cases(one, "ddp,lsdp")
    return parser


def require_sense(options):
    if options.count <= 0:
        raise CommandFailed(f"{options.trial} {options.count:g}: more than 0", 2)
    if getattr(options, "steps", 0) % getattr(options, "every", 1) != 0:
        raise CommandFailed(f"--steps {options.steps}: a multiple of --every {options.every}", 2)
    for name in getattr(options, "cases", "").split(","):
        if name and name not in CASES:
            raise CommandFailed(f"--cases: {name} is none of {', '.join(CASES)}", 2)


def require_program(program):
    if program == LSHDP:
        require_built(program)
    elif not program.is_file():
        raise CommandFailed(f"--lshdp: there is no file {program}", 2)


def trial_of(options, lshdp, out):
    """The module of the trial, the trial, and the call that carries it out."""
    common = {"lshdp": lshdp, "out": out, "seed": options.seed, "limit": options.limit, "more": options.train_options.split()}
    cases = options.cases.split(",") if hasattr(options, "cases") else None
    if options.trial == "soak":
        trial = soak.Soak(hours=options.count, steps=options.steps, every=options.every, name=options.cluster, **common)
        return soak, trial, trial.run
    if options.trial == "kills":
        trial = kills.Kills(steps=options.steps, every=options.every, cases=cases, **common)
        return kills, trial, lambda: trial.run(options.count)
    if options.trial == "damage":
        trial = damage.Damage(**common)
        return damage, trial, lambda: trial.run(options.count, options.resumes)
    if options.trial == "full-disk":
        trial = full_disk.FullDisk(steps=options.steps, every=options.every, cases=cases, **common)
        return full_disk, trial, lambda: trial.run(options.count)
    trial = restart.Restart(every=options.every, cases=cases, **common)
    return restart, trial, lambda: trial.run(options.count)


def copy_of(program, out):
    """A build meanwhile does not change what is tried."""
    copy = out / "bin" / "lshdp"
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(program, copy)
    return copy


@contextlib.contextmanager
def sole_user(folder):
    """A process that dies gives it up."""
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandFailed(f"another trial writes into {folder}; choose another --out", 2) from None
        yield


def carry_out(options, out):
    """Returns the number of failures."""
    begun = time.monotonic()
    module, trial, run = trial_of(options, copy_of(options.lshdp, out), out)
    complete = False
    try:
        run()
        complete = True
    finally:  # interrupted: what is there can be looked at
        result = {"command": sys.argv[1:], **made(), "complete": complete, "seconds": time.monotonic() - begun, **trial.result()}
        (out / "summary.json").write_text(json.dumps(result, indent=1) + "\n")
        stopped = "" if result["complete"] else "stopped before its end: "
        print(f"{options.trial}: {stopped}{module.sentence(result)}; see {out / 'summary.json'}", flush=True)
    return len(result["failures"])


def main():
    options = make_parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        require_sense(options)
        require_program(options.lshdp)
        out = (pathlib.Path(options.out) / options.trial).resolve()
        out.mkdir(parents=True, exist_ok=True)
        with sole_user(out), exclusive(options.cluster) if options.trial == "soak" else contextlib.nullcontext():
            return 1 if carry_out(options, out) else 0
    except CommandFailed as error:
        print(f"{options.trial}: {error}", file=sys.stderr)
        return error.code if error.code == 2 else 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
