"""A call as a file for other tools. Pure: a Case in, bytes out."""
