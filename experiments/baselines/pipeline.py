# PyTorch's pipelines (torch.distributed.pipelining) over stages cut by hand; several replicas of one cut are joined by DDP.
"""
GPT-2's table is the embedding's and the head's. Where they are on different ranks, each has a copy, and the gradients of the two
are summed at the end of every step. Where one rank has both, it has one table.
"""
import time

import torch
import torch.distributed as distributed
from torch import nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe, schedules
from torch.nn.parallel import DistributedDataParallel

import cuts
import looped
import models
import parallel
import ranks

SCHEDULES = {"1f1b": Schedule1F1B, "gpipe": ScheduleGPipe}


def tied_parameters(chain):
    """Parameters that the first and the last block share."""
    return [parameter for parameter in chain[0].parameters() if any(parameter is other for other in chain[-1].parameters())]


class Groups:
    """The process groups of a cut. Every rank makes all of them, in the same order, and keeps those that it is in."""

    def __init__(self, replicas, rank, timeout_seconds):
        def mine(groups_of_ranks):
            made = [ranks.new_group({stage.rank for stage in stages}, rank, timeout_seconds) for stages in groups_of_ranks]
            return next((group for group in made if group is not None), None)

        self.pipeline = mine(replica.stages for replica in replicas)
        self.ends = mine((replica.stages[0], replica.stages[-1]) for replica in replicas)
        self.replicas = mine(zip(*(replica.stages for replica in replicas))) if len(replicas) > 1 else None


def module_of(stage, chain, groups, options):
    """The stage's blocks; with several replicas DDP averages their gradients while the last micro-batch goes back."""
    module = nn.Sequential(*chain[stage.start:stage.end])
    if groups.replicas is None:
        return module
    return DistributedDataParallel(module, process_group=groups.replicas, bucket_cap_mb=options.bucket_mb, gradient_as_bucket_view=True,
                                   broadcast_buffers=False)


def looped_schedule(stages, replica, options, places, loss):
    """The order of looped.py, carried out by PyTorch's runtime."""
    kinds = {looped.FORWARD: schedules.FORWARD, looped.BACKWARD: schedules.FULL_BACKWARD}
    actions = {places[rank]: [schedules._Action(index, kinds[kind], number) for kind, index, number in tasks]
               for rank, tasks in looped.order_of(replica, options.schedule).items()}
    schedule = schedules._PipelineScheduleRuntime(stages, replica.micro_batches, loss_fn=loss, scale_grads=False)
    schedule._prepare_schedule_with_comms(actions)
    return schedule


def schedule_of(modules, replica, options, group, loss):
    """PyTorch's schedule of a rank with these modules, by the index of their stage."""
    places = {rank: place for place, rank in enumerate(sorted({stage.rank for stage in replica.stages}))}
    stages = [PipelineStage(module, index, len(replica.stages), torch.device("cpu"), group=group) for index, module in modules.items()]
    if replica.is_looped:
        return looped_schedule(stages, replica, options, places, loss)
    # PyTorch takes stages to be on ranks of rising numbers.
    stages[0].stage_index_to_group_rank = {index: places[stage.rank] for index, stage in enumerate(replica.stages)}
    return SCHEDULES[options.schedule](stages[0], replica.micro_batches, loss_fn=loss, scale_grads=False)


class PipelineStepper:
    """Steps of one rank of a cut; a rank that is left out does nothing."""

    device = "cpu"

    def __init__(self, model, replicas, options, rank, size, pool_size):
        self.update_cpu_seconds = 0.0
        self.lead, self.batches = replicas[0].stages[0].rank, cuts.batches_of(replicas, size)
        self.told = {"schedule": options.schedule, "layout": {"replicas": cuts.described(replicas)}}
        self.schedule, self.tables = None, []
        groups = Groups(replicas, rank, options.timeout)
        mine = next((number for number, replica in enumerate(replicas) if any(stage.rank == rank for stage in replica.stages)), None)
        if mine is None:
            return
        replica, chain = replicas[mine], model.chain()
        self.is_first, self.is_last = replica.stages[0].rank == rank, replica.stages[-1].rank == rank
        self.scale = len(replicas) / (sum(each.batch for each in replicas) * model.terms_per_sample)  # DDP divides by the replicas
        generator = torch.Generator().manual_seed(options.seed + mine)
        self.pool = [model.synthetic(replica.batch, generator) for _ in range(pool_size)]
        if self.is_first != self.is_last:  # it holds one of two copies
            self.tables, self.ends = tied_parameters(chain), groups.ends
        self.modules = {index: module_of(stage, chain, groups, options) for index, stage in enumerate(replica.stages) if stage.rank == rank}
        self.optimizer = parallel.make_optimizer(nn.ModuleList(self.modules.values()), options)
        self.schedule = schedule_of(self.modules, replica, options, groups.pipeline, self.scaled_loss)

    def scaled_loss(self, logits, target):
        return models.summed_loss(logits, target) * self.scale

    def step(self, index):
        """Returns the summed loss, unscaled, as a tensor; 0 on ranks without the last stage."""
        if self.schedule is None:
            return torch.zeros(())
        inputs, target = self.pool[index % len(self.pool)]
        losses = []
        arguments = [inputs] if self.is_first else []
        self.schedule.step(*arguments, target=target if self.is_last else None, losses=losses, return_outputs=False)
        for table in self.tables:
            distributed.all_reduce(table.grad, group=self.ends)
        begun = time.thread_time()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.update_cpu_seconds += time.thread_time() - begun
        return sum((loss.detach() for loss in losses), torch.zeros(())) / self.scale

