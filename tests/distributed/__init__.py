"""Several processes: real ones, forked, on the CPU."""
