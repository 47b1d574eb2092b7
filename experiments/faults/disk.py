# A small file system in memory that can be filled and given room again while a run writes into it. Needs root.
import os
import subprocess

from experiments.machines import CommandFailed

ROOMY_BYTES = 1 << 30
ROOMY_FILES = 1 << 16


class SmallDisk:
    """A tmpfs at `folder` for as long as the context lasts."""

    def __init__(self, folder):
        self.folder = folder

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.path.ismount(self.folder):  # what a crash left
            self.unmount()
        self.call("mount", "-t", "tmpfs", "-o", f"size={ROOMY_BYTES},nr_inodes={ROOMY_FILES}", "lshdp-faults", str(self.folder))
        return self

    def __exit__(self, *_):
        self.unmount()
        self.folder.rmdir()

    def unmount(self):
        self.call("umount", "--lazy", str(self.folder))

    def limit(self, size=ROOMY_BYTES, files=ROOMY_FILES):
        """What there may be, in all: bytes, in pages, and files and folders. Never less than there is."""
        used_bytes, used_files = self.used()
        self.call("mount", "-o", f"remount,size={max(size, used_bytes)},nr_inodes={max(files, used_files)}", str(self.folder))

    def used(self):
        """Bytes and files."""
        state = os.statvfs(self.folder)
        return (state.f_blocks - state.f_bfree) * state.f_frsize, state.f_files - state.f_ffree

    @staticmethod
    def call(*command):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise CommandFailed(done.stderr.strip() or f"{command[0]}: exit code {done.returncode}", 1)
