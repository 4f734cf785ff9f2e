"""RTP as pure cores: the reorder window, the paced sender, reports and their figures."""
