# Trials of a run's safety: killed ranks, damaged checkpoints, full disks, and all of it for hours (scripts/soak.sh).
