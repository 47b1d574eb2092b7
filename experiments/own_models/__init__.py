# Models written in PyTorch, for scripts/export_model.py, and their comparison with PyTorch's own training.
