# The process group of a run: one rank per node, started by mpirun, talking gloo; GPUs NCCL.
import contextlib
import datetime
import os

import torch
import torch.distributed as distributed


@contextlib.contextmanager
def process_group(timeout_seconds, device="cpu"):
    """Yields (rank, size). Rank 0 listens at MASTER_ADDR:MASTER_PORT; a rank that hears nothing for so long fails."""
    rank, size = int(os.environ.get("OMPI_COMM_WORLD_RANK", 0)), int(os.environ.get("OMPI_COMM_WORLD_SIZE", 1))
    address = os.environ.get("MASTER_ADDR", "10.77.0.1" if size > 1 else "127.0.0.1")
    port = os.environ.get("MASTER_PORT", "29500")
    timeout = datetime.timedelta(seconds=timeout_seconds)
    backend = "gloo"
    if device == "cuda":
        torch.cuda.set_device(rank % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    distributed.init_process_group(backend, f"tcp://{address}:{port}", timeout, size, rank)
    try:
        yield rank, size
    finally:
        distributed.destroy_process_group()


def new_group(members, rank, timeout_seconds):
    """A group of these ranks, None on the others. All ranks call it."""
    group = distributed.new_group(sorted(members), datetime.timedelta(seconds=timeout_seconds))
    return group if rank in members else None


def gather(value, size):
    """The value of every rank, on every rank."""
    if size == 1:
        return [value]
    values = [None] * size
    distributed.all_gather_object(values, value)
    return values
