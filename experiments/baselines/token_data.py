# Windows of the token files that lshdp trains on (lshdp data, HDF5).
"""h5py is imported where a file is read: other runs of a launch do not need it."""
import torch


def windows(path, first, count, context):
    """(inputs, targets), int64 [count, context] each: sample k is the tokens from k * context on, its target the same one token later."""
    import h5py

    with h5py.File(path) as file:
        tokens = file["tokens"]
        held = (len(tokens) - 1) // context
        if first + count > held:
            raise ValueError(f"{path}: {held} samples of {context} tokens; {first + count} are wanted")
        read = torch.from_numpy(tokens[first * context:(first + count) * context + 1].astype("int64"))
    return read[:-1].view(count, context), read[1:].view(count, context)


def pool_of(path, context, batches, rank, steps):
    """What `rank` trains on in these steps: each global batch is the next samples of the file, shared out in the order of the ranks."""
    before = sum(batches[:rank])
    return [windows(path, step * sum(batches) + before, batches[rank], context) for step in range(steps)]
