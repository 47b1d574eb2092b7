# The order in which ranks work where one of them has a pipeline's first and last stage, for which PyTorch names no schedule.
"""
PyTorch's runtime of schedules (_PipelineScheduleRuntime) carries out any order of forwards and backwards that is given it for
each rank. This one is what ranks would do by themselves: whatever can begin first, backwards before forwards for 1F1B, forwards
before backwards for GPipe, later stages before earlier ones.
"""
import math

FORWARD, BACKWARD = "F", "B"


class Simulation:
    """Of one replica's step: chooses the order as if forwards and backwards took what its stages say."""

    def __init__(self, replica, schedule):
        self.stages, self.count = replica.stages, replica.micro_batches
        self.gpipe = schedule == "gpipe"
        self.free = {stage.rank: 0.0 for stage in self.stages}
        self.ended = {}  # (kind, stage, micro-batch) -> when
        self.begun = {(kind, index): 0 for kind in (FORWARD, BACKWARD) for index in range(len(self.stages))}

    def in_flight(self, index):
        if self.gpipe:
            return self.count
        wanted = self.stages[index].in_flight
        return min(self.count, len(self.stages) - index if wanted is None else wanted)

    def ready(self, kind, index):
        """When the stage's next forward or backward has all it needs; infinite while that is not known."""
        number = self.begun[kind, index]
        if number == self.count:
            return math.inf
        if kind == FORWARD:
            if number - self.begun[BACKWARD, index] >= self.in_flight(index):
                return math.inf
            return 0.0 if index == 0 else self.ended.get((FORWARD, index - 1, number), math.inf)
        if self.gpipe and self.begun[FORWARD, index] < self.count:
            return math.inf
        before = [(FORWARD, index, number)] + ([(BACKWARD, index + 1, number)] if index + 1 < len(self.stages) else [])
        return max(self.ended.get(task, math.inf) for task in before)

    def next_task(self):
        """(start, urgency, kind, stage): what begins first of all that can; on one rank the most urgent of it."""
        found = []
        for kind, index in self.begun:
            start = max(self.free[self.stages[index].rank], self.ready(kind, index))
            found.append((start, (kind == FORWARD) != self.gpipe, -index, kind, index))
        start, _, _, kind, index = min(found)
        return start, kind, index

    def run(self):
        """By rank, its (kind, stage, micro-batch) in the order of working."""
        order = {rank: [] for rank in self.free}
        for _ in range(2 * self.count * len(self.stages)):
            start, kind, index = self.next_task()
            stage, number = self.stages[index], self.begun[kind, index]
            end = start + (stage.forward if kind == FORWARD else stage.backward)
            self.free[stage.rank], self.ended[kind, index, number] = end, end
            self.begun[kind, index] += 1
            order[stage.rank].append((kind, index, number))
        return order


def order_of(replica, schedule):
    """By rank, what it does in a step: (kind, index of the stage, micro-batch)."""
    return Simulation(replica, schedule).run()
