"""The record of each call: from the events of a fleet to a store, and out of it again."""
