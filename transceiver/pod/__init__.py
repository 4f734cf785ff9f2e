"""Several processes, and several Pods, that answer as one."""
