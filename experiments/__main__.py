# The command behind scripts/run_experiments.sh.
import argparse
import pathlib
import shutil
import signal
import sys

from experiments import definitions, machines, report
from experiments.machines import ROOT
from experiments.runner import LSHDP, Runner


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/run_experiments.sh", description="Runs experiments, side by side with PyTorch, and reports them.",
        epilog="example: scripts/run_experiments.sh --quick")
    parser.add_argument("definitions", nargs="*", metavar="DEFINITION", help="a name in experiments/ or a YAML file; default: gigabit")
    parser.add_argument("--quick", action="store_true", help="the definition quick: under 15 minutes")
    parser.add_argument("--results", default="results", metavar="DIR", help="results go to DIR/DEFINITION (default: results)")
    parser.add_argument("--cluster", default="exp", metavar="NAME", help="name of the emulated cluster (default: exp)")
    parser.add_argument("--hosts", metavar="FILE", help="mpirun's host file, for definitions of real nodes")
    parser.add_argument("--device", default="auto", help="lshdp's --device (default: auto)")
    parser.add_argument("--report-only", action="store_true", help="run nothing; write the tables and plots of what is there")
    parser.add_argument("--restart", action="store_true", help="throw away what earlier runs of the definition measured")
    return parser.parse_args()


def path_of(name):
    return pathlib.Path(name) if name.endswith((".yaml", ".yml")) else ROOT / "experiments" / f"{name}.yaml"


def run(definition, options):
    """One definition: cells, then the report. Returns how many cells failed."""
    folder = (pathlib.Path(options.results) / definition.name).resolve()
    if options.restart:
        shutil.rmtree(folder, ignore_errors=True)
    failed = 0
    try:
        if not options.report_only:
            failed = Runner(definition, folder, options.cluster, options.hosts, options.device).run()
    finally:  # interrupted: what is there can be looked at
        if (folder / "raw").is_dir():
            report.write(definition, folder)
            print(f"{folder / 'results.md'}", flush=True)
    return failed


def main():
    options = parse_arguments()
    names = options.definitions + (["quick"] if options.quick else [])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        chosen = [definitions.read_definition(path_of(name)) for name in names or ["gigabit"]]
        if not options.report_only and not LSHDP.exists():
            print("run_experiments: build/lshdp is missing: cmake --preset release && cmake --build --preset release", file=sys.stderr)
            return 2
        with machines.exclusive(options.cluster):
            failed = sum(run(definition, options) for definition in chosen)
    except definitions.DefinitionError as error:
        print(f"run_experiments: {error}", file=sys.stderr)
        return 2
    except machines.CommandFailed as error:
        print(f"run_experiments: {error}", file=sys.stderr)
        return error.code if error.code == 2 else 1
    except KeyboardInterrupt:
        print("run_experiments: interrupted; started again, it goes on from here", file=sys.stderr)
        return 130
    if failed:
        print(f"run_experiments: {failed} cells failed; started again, they are tried again", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
