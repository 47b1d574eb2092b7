# How PyTorch spreads a model over ranks: not at all (perhaps compiled), DistributedDataParallel, or FSDP2.
import torch
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel


def spread(model, options, size):
    """The model to call in a step."""
    spread_model = distributed_over(model, options, size)
    return torch.compile(spread_model) if options.compile else spread_model


def distributed_over(model, options, size):
    if options.mode == "ddp":
        # Without views, every gradient is copied once more. All ranks draw the same first values: rank 0 need not send its own,
        # which on a slow link would take longer than the run.
        spread_model = DistributedDataParallel(model, bucket_cap_mb=options.bucket_mb, gradient_as_bucket_view=True,
                                               broadcast_buffers=False, init_sync=False)
        if options.wire == "bf16":
            spread_model.register_comm_hook(None, default_hooks.bf16_compress_hook)
        return spread_model
    if options.mode == "fsdp2":
        how = {"mesh": init_device_mesh(options.device, (size,)),
               "offload_policy": CPUOffloadPolicy(pin_memory=options.device == "cuda") if options.offload else OffloadPolicy()}
        if options.precision == "bf16":
            how["mp_policy"] = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        for block in model.blocks():
            fully_shard(block, **how)
        return fully_shard(model, **how)
    return model


def loss_scale(options, batches, rank, terms_per_sample):
    """What a rank's summed loss is multiplied with, so that the parameters see d(mean over the whole batch).

    DDP and FSDP2 divide the sum of the ranks' gradients by the number of ranks W. With global count G, each rank therefore
    scales by W / G: (1 / W) sum_r (W / G) grad_r = (1 / G) sum_r grad_r, whatever the split. Scaling each rank by its own
    count instead, as a mean loss does, would give samples of small batches more weight.
    """
    if options.mode == "plain":
        return 1 / (batches[rank] * terms_per_sample)
    return len(batches) / (sum(batches) * terms_per_sample)


def make_optimizer(model, options):
    """Fused AdamW; biases and norms do not decay, as in lshdp."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [{"params": [p for p in parameters if p.dim() > 1], "weight_decay": options.weight_decay},
              {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=options.lr, betas=(0.9, 0.999), eps=1e-8, fused=True)
