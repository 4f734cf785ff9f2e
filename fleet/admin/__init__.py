"""The admin port of every process: who may ask, what is answered, with which certificates."""
