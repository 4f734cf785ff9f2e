"""The record of calls as those write it who have them: from an event to the stream in Redis."""
