# How much of the CPU time that a virtual machine wanted its host gave to others meanwhile.


def ticks():
    """(stolen, wanted) since the machine started, in clock ticks of all its cores; nothing where the kernel does not tell."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            user, nice, system, _, _, interrupts, soft_interrupts, stolen = map(int, file.readline().split()[1:9])
    except (OSError, ValueError):
        return 0, 0
    return stolen, user + nice + system + interrupts + soft_interrupts + stolen


class StolenTime:
    """From its making on."""

    def __init__(self):
        self.begun = ticks()

    def share(self):
        """Of the CPU time wanted since then, on all cores of the machine."""
        stolen, wanted = (now - then for now, then in zip(ticks(), self.begun))
        return stolen / wanted if wanted else 0.0
