"""The measurements that the documentation shows: they are run, kept and written by one command."""
