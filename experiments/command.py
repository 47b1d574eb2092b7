# What the programs of single experiments share: the options of their results, and how they end.
import pathlib
import shutil
import sys

from experiments.definitions import DefinitionError
from experiments.machines import CommandFailed


def add_result_options(parser, name, report="the report"):
    """Of a program that measures on an emulated cluster and can report again what it finds in DIR/`name`."""
    parser.add_argument("--results", default="results", metavar="DIR", help=f"results go to DIR/{name} (default: results)")
    parser.add_argument("--cluster", default="exp", metavar="NAME", help="name of the emulated cluster (default: exp)")
    parser.add_argument("--report-only", action="store_true", help=f"run nothing; write {report} of what is there")
    parser.add_argument("--restart", action="store_true", help="throw away what earlier runs measured")


def folder_of(options, name):
    """Where results go; emptied with --restart."""
    folder = (pathlib.Path(options.results) / name).resolve()
    if options.restart:
        shutil.rmtree(folder, ignore_errors=True)
    return folder


def require_built(program):
    if not program.exists():
        path = "/".join(program.parts[program.parts.index("build"):])
        raise CommandFailed(f"{path} is missing: cmake --preset release && cmake --build --preset release", 2)


def exit_code_of(name, body):
    """Runs `body`; what goes wrong is said in one line."""
    try:
        body()
    except (CommandFailed, DefinitionError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2 if isinstance(error, DefinitionError) else error.code
    except KeyboardInterrupt:
        print(f"{name}: interrupted; started again, it goes on from here", file=sys.stderr)
        return 130
    return 0
