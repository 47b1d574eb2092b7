# Experiments: definitions (YAML) -> cells -> runs -> CSV, tables, commentary, plots. Started by scripts/run_experiments.sh.
