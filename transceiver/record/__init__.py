"""The record of the calls of this process: who tells what, and the media of each now and then."""
