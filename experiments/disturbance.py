# Measuring again what the host of a virtual machine disturbed: whole training runs, which keep the machine busy.
import statistics

from experiments.baselines.stolen_time import StolenTime

# Emulated nodes want nearly all of their machine's CPU time. A run during which its host takes more than this is measured again.
MOST_STOLEN = 0.05
ATTEMPTS = 3


def sentences(shares):
    """What readers are told about the shares stolen during runs; nothing on a machine that lost none."""
    if not any(shares):
        return []
    return [f"The machine is virtual: of the CPU time that it wanted during runs, its host gave {100 * statistics.fmean(shares):.1f} % to "
            f"others on average, {100 * max(shares):.1f} % at worst. On emulated nodes a run that lost more than {100 * MOST_STOLEN:.0f} % is measured again, up to "
            f"{ATTEMPTS} times in all; that which lost least counts."]


def least_disturbed(measure, again=lambda share: None):
    """(measure(), share stolen meanwhile) of the attempt that lost least; `again` is told of each that is repeated."""
    attempts = []
    while len(attempts) < ATTEMPTS:
        stolen = StolenTime()
        attempts.append((measure(), stolen.share()))
        if attempts[-1][1] <= MOST_STOLEN:
            break
        if len(attempts) < ATTEMPTS:
            again(attempts[-1][1])
    return min(attempts, key=lambda attempt: attempt[1])
