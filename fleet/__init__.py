"""What every process needs to be one fleet; knows no media."""
